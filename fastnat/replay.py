"""Moved to fastnat.capture.replay; the next release removes this name."""

from .capture.replay import VERDICTS, Replay, replay

__all__ = ["VERDICTS", "Replay", "replay"]
