"""Hyperparameter search with Optuna, see docs/searches.md of the template.

command.py has the options, settings.py what a config in configs/search/ holds, worker.py runs the trials, space.py
chooses their values, storage.py is the database that workers share, and best.py writes the config of the best trial.
"""
