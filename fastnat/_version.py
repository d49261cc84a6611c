"""The version of fastnat."""

__version__ = "0.1.0"
