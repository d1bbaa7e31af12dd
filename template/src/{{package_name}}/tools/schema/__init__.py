"""Writes a JSON schema of the configs, with which editors complete and check them.

command.py has the options. generate.py asks jsonargparse about all arguments and classes. config_schema.py turns the
answer into a schema of configs. factories.py finds arguments that take a function, such as an optimizer, or a network.
"""
