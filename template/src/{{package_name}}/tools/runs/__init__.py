"""The runs below logs/: list, compare, summarize, plot and reproduce them.

command.py has the options, select.py chooses runs, and each command has a file of its name. tables.py prints tables.
"""
