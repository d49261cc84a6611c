"""The files of a node directory: text, JSON as `ip -j` prints it, sysctl.conf; every error names file and place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

from .errors import InputError
from .text import excerpt

# bytes of a file that is read as one text; `fastnat top` reads dumps of any size
MAX_TEXT = 1 << 29
CHUNK = 1 << 22


def open_file(path: Path | str) -> BinaryIO:
    """Return a file or pipe to read; InputError says why there is none."""
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"{excerpt(str(path))}: {getattr(error, 'strerror', None) or error}") from None


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytearray:
    """Return a file, or what comes out of a pipe; InputError when it cannot be read, or is larger than the limit."""
    data = bytearray()
    with open_file(path) as file:
        try:
            while chunk := file.read(CHUNK):
                data += chunk
                if len(data) > limit:
                    raise InputError(f"{path}: larger than {limit:,} bytes, the limit of a file of this kind")
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
    return data


def read_text(path: Path) -> str:
    """Return a file's text; InputError names the file when it cannot be read as UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None


def parse_json(text: str, path: Path | str, expected: str, infinity: bool = False) -> Any:
    """Return what JSON says; InputError names file, line and column, and what was expected.

    Numbers are finite, or with `infinity` what Python writes for those that are not.
    """
    try:
        return json.loads(text, parse_constant=float if infinity else _no_number, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: {error.msg}; expected {expected}") from None
    except RecursionError:
        raise InputError(f"{path}: lists or objects nest too deep; expected {expected}") from None
    except ValueError as error:
        # an integer of more digits than Python reads, or one of those below
        raise InputError(f"{path}: {error}; expected {expected}") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


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
    """Return the "key = value" lines of a file; InputError names a line that is neither that nor a comment."""
    values = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        key, eq, value = text.lstrip("-").partition("=")
        if not eq:
            raise InputError(f"{path}:{number}: {excerpt(text)!r}: expected key = value")
        values[key.strip().replace("/", ".")] = value.strip()
    return values
