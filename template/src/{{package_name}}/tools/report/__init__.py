"""The content of a test's report, which callbacks/report.py collects and writes.

mistakes.py finds the most wrong samples, tables.py makes the tables, and drawing.py the pictures.
"""
