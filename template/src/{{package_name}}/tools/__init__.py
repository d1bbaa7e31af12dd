"""The optional commands, such as `python -m <package>.runs`, with their helpers. They belong to the template.

Each command is a file or a folder of its name; in a folder, command.py has the options. All commands share
options.py, run_files.py, which reads a run's directory, and fit_process.py, which trains in a separate process.
"""
