"""Prefect tasks: thin wrappers of one ``dda_core`` step each, named after what happens."""
