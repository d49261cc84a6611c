"""Moved to fastnat.capture.replay; this name goes with the next release."""

from .capture.replay import VERDICTS, Replay, replay

__all__ = ["VERDICTS", "Replay", "replay"]
