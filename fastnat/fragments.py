"""Moved to fastnat.capture.fragments; this name goes with the next release."""

from .capture.fragments import Reassembler, Whole, checksum, split

__all__ = ["Reassembler", "Whole", "checksum", "split"]
