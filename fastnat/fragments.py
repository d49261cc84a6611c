"""Moved to fastnat.capture.fragments; the next release removes this name."""

from .capture.fragments import Reassembler, Whole, checksum, split

__all__ = ["Reassembler", "Whole", "checksum", "split"]
