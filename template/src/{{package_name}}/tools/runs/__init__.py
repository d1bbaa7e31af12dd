"""The runs below logs/: list, compare, summarize, plot and reproduce them.

command.py has the options. Each command has a file of its name. select.py chooses runs, and tables.py prints tables.
"""
