"""Builds the content of a test's report. callbacks/report.py collects the data and writes the files.

mistakes.py finds the most wrong samples, tables.py makes the tables, and drawing.py the pictures.
"""
