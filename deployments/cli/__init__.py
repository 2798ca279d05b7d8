"""The command ``dda``."""
