"""Writes a JSON schema of the configs, for completion and checks in editors.

command.py has the options. generate.py gets jsonargparse's schema of all arguments and classes. config_schema.py turns
it into a schema of configs. factories.py finds arguments that take a network, or a function that builds an object.
"""
