"""Hyperparameter search with Optuna, see docs/searches.md of the template.

command.py has the options, and settings.py the keys of a config in configs/search/. worker.py runs the trials, and
space.py chooses their values. storage.py opens the database that workers share. best.py writes the best config.
"""
