"""The optional commands, such as `python -m <package>.runs`, with their helpers. They are the template's.

A command is a file or a folder of its name here; in a folder, command.py has its options. Shared are options.py,
run_files.py, which reads a run's directory, and fit_process.py, which trains in a process of its own.
"""
