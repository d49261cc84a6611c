"""Connections as an engine shows them, and the text of conntrack(8) and /proc."""

from .text import Connection, format_event, format_line, format_proc_stats, format_stats, parse_line
from .view import Conntrack

__all__ = ["Connection", "Conntrack", "format_event", "format_line", "format_proc_stats", "format_stats", "parse_line"]
