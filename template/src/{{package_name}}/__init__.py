"""The project's package: data modules, models, modules, callbacks and the command line."""
