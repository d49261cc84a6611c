"""The engine: a node's rules and tables over the core, and the operations on them."""

from .engine import Engine
from .group import EngineGroup
from .packets import packets

__all__ = ["Engine", "EngineGroup", "packets"]
