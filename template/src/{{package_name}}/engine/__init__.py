"""The machinery of the command line, the runs and the checkpoints. It is the template's; you need not read it."""
