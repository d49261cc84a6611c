"""Linux connection tracking and NAT: the kernel's decisions, deterministic, on a virtual clock."""

from . import _command as _command  # isort: skip  # before what takes long to load
from ._version import __version__
from .dtypes import PACKET, RESULT, CtInfo, Reason, Status, Verdict
from .engine import Engine
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
from .group import EngineGroup
from .node import Node
from .packets import packets

__all__ = [
    "PACKET", "RESULT", "ArgumentError", "BusyError", "CheckError", "ClockError", "CtInfo", "Engine", "EngineGroup",
    "FastnatError", "InputError", "Node", "OutputError", "Reason", "RuleError", "Status", "Verdict", "__version__",
    "packets",
]  # fmt: skip
