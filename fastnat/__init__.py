"""Linux connection tracking and NAT: the kernel's decisions, deterministic, on a virtual clock."""

from importlib import import_module
from typing import Any

from . import _command as _command  # isort: skip  # before what takes long to load
from ._version import __version__
from .dtypes import PACKET, RESULT, CtInfo, Reason, Status, Verdict
from .engine import Engine, EngineGroup, packets, packets_from
from .errors import (
    ArgumentError,
    BusyError,
    CheckError,
    ClockError,
    FastnatError,
    InputError,
    OutputError,
    RuleError,
)
from .node import Node

__all__ = [
    "PACKET", "RESULT", "ArgumentError", "BusyError", "CheckError", "ClockError", "CtInfo", "Engine", "EngineGroup",
    "FastnatError", "InputError", "Node", "OutputError", "Reason", "RuleError", "Status", "Verdict", "__version__",
    "packets", "packets_from",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Find the modules that moved into fastnat.node by their old names; the next release removes these."""
    if name in ("ipset", "ipvs"):
        return import_module(f".node.{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
