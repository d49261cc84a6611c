"""What `fastnat` settles before it loads its modules: Ctrl-C ends it without a traceback, and NumPy starts no threads.

Imported before everything else, and only by the command: a program that imports fastnat handles its own signals.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise
from pathlib import Path

INTERRUPTED = 130


def quit_at_once(number: int, frame: object) -> None:
    """Handle SIGINT while there is nothing yet that could be kept."""
    os.write(2, b"fastnat: interrupted: nothing was begun\n")
    os._exit(INTERRUPTED)


def loaded() -> None:
    """Restore KeyboardInterrupt: from here on the command itself says what is kept."""
    if signal.getsignal(signal.SIGINT) is quit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_command() -> bool:
    """Tell whether this process is `fastnat` or `python -m fastnat`."""
    program = sys.argv[0] if getattr(sys, "argv", None) else ""
    # "-m" stands there while Python looks for the module that it runs
    return Path(program).name == "fastnat" or (program == "-m" and ("-m", "fastnat") in pairwise(sys.orig_argv))


if is_command():
    # who has asked for threads of linear algebra keeps them; nothing here asks for any, and each takes 0.07 s of CPU
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, quit_at_once)
