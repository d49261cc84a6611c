"""The files of a node directory: text, JSON as `ip -j` prints it, sysctl.conf; every error names file and place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import InputError


def read_text(path: Path) -> str:
    """Return a file's text; InputError names the file when it cannot be read as UTF-8."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None


def read_json(path: Path) -> list[dict[str, Any]]:
    """Return a JSON file that holds a list of objects; InputError names file, line and column."""
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}:{error.lineno}:{error.colno}: {error.msg}; expected JSON as `ip -j` prints it"
        ) from None
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
            raise InputError(f"{path}:{number}: {text!r}: expected key = value")
        values[key.strip().replace("/", ".")] = value.strip()
    return values
