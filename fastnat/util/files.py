"""The files of a node directory: text, JSON as `ip -j` prints it, sysctl.conf; every error names file and place."""

from __future__ import annotations

import io
import json
import math
import os
import select
import stat
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from ..errors import ArgumentError, InputError
from .text import excerpt

# how long a turn of waiting for a pipe is [ms]
TURN = 200
# bytes of a file that is read as one text; `fastnat top` reads dumps of any size
MAX_TEXT = 1 << 29
# sysctls with a second name
ALIASES = {"net.nf_conntrack_max": "net.netfilter.nf_conntrack_max"}
CHUNK = 1 << 22
# how the forms begin in which a file of text, or a capture, may lie there, and what makes text of it
OTHER_FORMS = (
    (b"\x1f\x8b", "compressed by gzip: give what `zcat` prints"),
    (b"\xfd7zXZ\0", "compressed by xz: give what `xzcat` prints"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: give what `zstdcat` prints"),
    (b"BZh", "compressed by bzip2: give what `bzcat` prints"),
    (b"PK\3\4", "a zip archive: unpack it first"),
    (b"\xff\xfe", "UTF-16 text: give what `iconv -f UTF-16 -t UTF-8` prints"),
    (b"\xfe\xff", "UTF-16 text: give what `iconv -f UTF-16 -t UTF-8` prints"),
)  # fmt: skip
# a file system in memory that every user may write to
MEMORY = "/dev/shm"


def name_of(path: object) -> str:
    """Return a path that was given as text, bytes or a Path as text; ArgumentError for anything else."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise ArgumentError(f"expected a path, got {type(path).__name__}")
    return os.fsdecode(path)


def scratch() -> TemporaryDirectory[str]:
    """Return a folder for files that are needed for a moment; InputError where none can be made.

    Where the whole file system is read-only, as in containers, memory often is not.
    """
    for where in (None, MEMORY):
        with suppress(OSError):
            return TemporaryDirectory(dir=where)
    raise InputError(f"no folder for temporary files: neither TMPDIR, /tmp nor {MEMORY} can be written to; set TMPDIR")


class Pipe(io.RawIOBase):
    """A pipe or device to read. It waits in short turns, so that Ctrl-C is never lost.

    A signal right before a blocking system call does not interrupt the call, and Python sees the signal only after it.
    If nobody writes to a pipe, the call never ends.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ready = select.poll()
        self.ready.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        """Tell that it is for reading."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.descriptor

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with what is available; return the number of bytes, 0 at the end."""
        while True:
            while not self.ready.poll(TURN):
                pass
            try:
                return os.readv(self.descriptor, [buffer])
            except BlockingIOError:
                continue

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            super().close()
            os.close(self.descriptor)


def open_file(path: Path | str) -> io.BufferedReader:
    """Return a file or pipe to read; InputError says why it cannot be opened."""
    path = Path(name_of(path))
    try:
        # without waiting for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode) or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return path.open("rb")
        return io.BufferedReader(Pipe(descriptor))
    except (OSError, ValueError) as error:
        raise InputError(f"{excerpt(str(path))}: {getattr(error, 'strerror', None) or error}") from None


def standard_input() -> BinaryIO:
    """Return standard input to read; InputError when it is closed."""
    if sys.stdin is None:
        raise InputError("-: standard input is closed; give a file")
    try:
        return io.BufferedReader(Pipe(os.dup(sys.stdin.fileno())))
    except io.UnsupportedOperation:
        # a program has replaced it
        return sys.stdin.buffer


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytearray:
    """Return the bytes of a file or pipe; InputError if it cannot be read, or is larger than the limit."""
    with open_file(path) as file:
        # all of a file at once: memory that grows is touched more than once
        data = bytearray(min(_size_of(file), limit))
        try:
            with memoryview(data) as room:
                begin = 0
                while begin < len(data) and (n := file.readinto(room[begin:])):
                    begin += n
            del data[begin:]
            # of a pipe, or of a file that has grown meanwhile
            while chunk := file.read(CHUNK):
                data += chunk
                if len(data) > limit:
                    raise InputError(f"{path}: larger than {limit:,} bytes, the limit of a file of this kind")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
    return data


def _size_of(file: BinaryIO) -> int:
    """Return the bytes of a file, 0 of what does not say."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, AttributeError):
        return 0


def other_form(head: bytes | bytearray) -> str:
    """Return what a file that begins so is instead of text or a capture, and what to do; "" if nobody can tell."""
    return next((said for begin, said in OTHER_FORMS if head.startswith(begin)), "")


def read_text(path: Path) -> str:
    """Return a file's text, without the mark of UTF-8; InputError names the file if it cannot be read as that."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {other_form(data[:6]) or f'byte {error.start} is not UTF-8 text'}") from None


def parse_json(text: str, path: Path | str, expected: str, infinity: bool = False) -> Any:
    """Return parsed JSON; InputError names file, line and column, and what was expected.

    Numbers must be finite; with `infinity`, Python's forms of the others are accepted.
    """
    try:
        return json.loads(text, parse_constant=float if infinity else _no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: {error.msg}; expected {expected}") from None
    except RecursionError:
        raise InputError(f"{path}: lists or objects nest too deeply; expected {expected}") from None
    except ValueError as error:
        # an integer of more digits than Python reads, or one of those below
        raise InputError(f"{path}: {error}; expected {expected}") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{excerpt(text, 40)} is beyond 64-bit floating point")
    return value


def read_json(path: Path) -> list[dict[str, Any]]:
    """Return a JSON file that holds a list of objects; InputError names file, line and column."""
    data = parse_json(read_text(path), path, "JSON as `ip -j` prints it")
    if not isinstance(data, list) or not all(isinstance(x, dict) for x in data):
        raise InputError(f"{path}: expected a JSON list of objects, as `ip -j` prints it")
    return data


def read_sysctls(path: Path) -> dict[str, str]:
    """Return the "key = value" lines of a file; InputError names a line that is neither such a line nor a comment."""
    values = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, eq, value = text.lstrip("-").partition("=")
        if not eq:
            raise InputError(f"{path}:{number}: {excerpt(text)!r}: expected key = value")
        values[sysctl_name(key.strip())] = value.strip()
    return values


def sysctl_name(text: str) -> str:
    """Return the one name of a sysctl that people write in several ways."""
    name = text.replace("/", ".")
    return ALIASES.get(name, name)
