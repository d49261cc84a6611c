"""Fragments: collected before the hooks, see reassembly, and cut again behind them, see refragment."""

from .reassembly import PART_BYTES, QUEUE_BYTES, Fragment, Reassembler, Whole, checksum, parse
from .refragment import split

__all__ = ["PART_BYTES", "QUEUE_BYTES", "Fragment", "Reassembler", "Whole", "checksum", "parse", "split"]
