"""The node: its interfaces, addresses, routes, sysctls, sets and services, and the files that they come from."""

from .model import Node

__all__ = ["Node"]
