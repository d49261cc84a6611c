"""Rule sets of nftables: text and JSON to one tree, back to the text that nft prints, and to what the core runs."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, RuleError
from ..util.files import read_text
from ..util.memory import no_garbage
from .canonical import canonical
from .elements import refused
from .json_form import parse_json
from .json_listing import json_listing
from .kinds import kinds_of
from .lexer import Reader
from .listing import listing
from .parser import change as carry_out
from .parser import parse
from .tree import Ruleset

__all__ = ["Ruleset", "change", "json_listing", "listing", "load"]


def load(text: str, source: str = "<rules.nft>", folder: Path | None = None, lenient: bool = False) -> Ruleset:
    """Read text of nft, or JSON as `nft -j list ruleset` prints it, in the form in which nft lists it.

    folder: where the files of `include` lie; None: none may be included. lenient: a rule that cannot be read, or later
    not be decided, never matches, and stands in the warnings. Raises RuleError, which names the place.
    """
    with no_garbage():
        if text.lstrip()[:1] == "{":
            return checked(canonical(parse_json(text, source, lenient)))
        return checked(canonical(parse(text, source, None if folder is None else beside(folder), lenient)))


def checked(ruleset: Ruleset) -> Ruleset:
    """Return a canonical rule set whose sets the kernel takes; RuleError for one that it does not, unless lenient."""
    for table in ruleset.tables.values() if not ruleset.lenient else ():
        for named in table.sets.values():
            why = refused(named, kinds_of(table, named)[0], (), named.elements)
            if why:
                line, column = named.place
                where = f":{line}:{column}" if line else f": table {table.family} {table.name}"
                raise RuleError(f"{ruleset.source}{where}: set {why}, so the kernel refuses that")
    return ruleset


def change(ruleset: Ruleset, text: str, source: str = "<commands>", folder: Path | None = None) -> Ruleset:
    """Carry out commands of nft on a canonical rule set, as `nft -f` does; the same object is returned.

    folder: as of load(). Raises RuleError, which names the place; then the rule set is of no use any more.
    """
    with no_garbage():
        return canonical(carry_out(ruleset, text, source, None if folder is None else beside(folder)))


def beside(folder: Path) -> Reader:
    """Return a reader of files in one folder, by name or pattern; none of another folder is read."""

    def read(name: str) -> list[tuple[str, str]]:
        if "/" in name.removeprefix("./") or name.startswith(".."):
            raise ValueError(f"{name}: only files beside the rules are read; copy it there and write its name alone")
        pattern = name.removeprefix("./")
        found = sorted(p for p in folder.glob(pattern) if p.is_file())
        if not found and not set("*?[") & set(pattern):
            raise ValueError(f"{folder / pattern}: no such file")
        try:
            return [(str(p), read_text(p)) for p in found]
        except InputError as error:
            raise ValueError(str(error)) from None

    return read
