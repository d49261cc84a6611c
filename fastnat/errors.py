"""The exceptions of fastnat; a bad packet is never one of them."""


class FastnatError(Exception):
    """fastnat rejects an input or a call: the message names the place, the value and the remedy."""


class InputError(FastnatError, ValueError):
    """A file or text that cannot be used: names file, line and what was expected."""


class RuleError(InputError):
    """A rule that cannot be used: names file, line, rule text and option."""


class ArgumentError(FastnatError, TypeError):
    """An argument of the wrong type: an array of another dtype, a string where a number is needed."""


class BusyError(FastnatError, RuntimeError):
    """Another thread is at work in the engine."""


class CheckError(FastnatError, AssertionError):
    """A table of an engine is broken: a fault of fastnat."""


class OutputError(FastnatError, OSError):
    """A file that cannot be written: names it and the reason; `errno` is the system's. An old file stays unchanged."""


class ClockError(FastnatError, ValueError):
    """Virtual time went back."""
