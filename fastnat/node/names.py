"""The names of a node's users and groups, as passwd(5) and group(5) have them."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..util.files import read_text
from ..util.text import decimal, excerpt

# the largest id is no user's, and no group's
MAX_ID = 2**32 - 2


def load_ids(path: Path) -> dict[str, int]:
    """Return the ids of passwd or group, NAME:PASSWORD:ID:...; InputError naming the line for anything else.

    As getpwnam(3) reads it: the first line of a name counts; lines of NIS, which begin with + or -, are passed over.
    """
    ids: dict[str, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line[0] in "#+-":
            continue
        name, *rest = line.split(":")
        try:
            if not name or len(rest) < 2:
                raise ValueError("expected NAME:PASSWORD:ID:...")
            ids.setdefault(name, decimal(rest[1], 0, MAX_ID))
        except ValueError as error:
            raise InputError(f"{path}:{number}: {excerpt(line)!r}: {error}") from None
    return ids


def text_of(ids: dict[str, int]) -> str:
    """Return ids as lines that load_ids reads."""
    return "".join(f"{name}:x:{number}:\n" for name, number in ids.items())
