"""Modules: loss, metrics and optimizer of a task, for any model that fits it."""
