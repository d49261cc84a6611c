"""Text of iptables-save, iptables -S and -nvL, and pasted commands: read into a rule model, written with counters."""

from .model import Chain, Match, Rule, Rules, Table, Target
from .parser import never_matching, parse

__all__ = ["Chain", "Match", "Rule", "Rules", "Table", "Target", "never_matching", "parse"]
