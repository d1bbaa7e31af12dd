"""Packed pictures: decoded once, and read by data_modules/packed.py as if they were in memory.

command.py has the options. decode.py reads the pictures, and files.py has the format of the folder.
"""
