"""The engine: a node's rules and tables over the core, and the operations on them."""

from .engine import Engine
from .group import EngineGroup
from .packets import packets, packets_from

__all__ = ["Engine", "EngineGroup", "packets", "packets_from"]
