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
from .listing import listing, text_of
from .parser import change as carry_out
from .parser import parse
from .timeouts import KIND, times_of
from .tree import Object, Ruleset, Set, Table

__all__ = ["Ruleset", "change", "json_listing", "listing", "load", "text_of"]


def load(text: str, source: str = "<rules.nft>", folder: Path | None = None, lenient: bool = False) -> Ruleset:
    """Read text of nft, or JSON as `nft -j list ruleset` prints it, in the form in which nft lists it.

    folder: where the files of `include` lie; None: none may be included. lenient: a rule that cannot be read, or later
    not be decided, never matches, and stands in the warnings. Raises RuleError, which names the place.
    """
    with no_garbage():
        if text.lstrip()[:1] == "{":
            return checked(checked_objects(canonical(parse_json(text, source, lenient))))
        read = None if folder is None else beside(folder)
        return checked(checked_objects(canonical(parse(text, source, read, lenient))))


def checked(ruleset: Ruleset) -> Ruleset:
    """Return a canonical rule set whose sets the kernel takes; RuleError for one that it does not, unless lenient."""
    for table in ruleset.tables.values() if not ruleset.lenient else ():
        for named in table.sets.values():
            why = refused(named, kinds_of(table, named)[0], named.elements)
            if why:
                where = where_of(ruleset, table, named)
                raise RuleError(f"{where}: set {why}, so the kernel refuses that")
    return ruleset


def checked_objects(ruleset: Ruleset) -> Ruleset:
    """Return a rule set whose timeout policies nft takes; RuleError for one that it does not, unless lenient."""
    for table in ruleset.tables.values() if not ruleset.lenient else ():
        for made in table.objects.values():
            if made.kind == KIND:
                try:
                    times_of(made)
                except ValueError as error:
                    raise RuleError(f"{where_of(ruleset, table, made)}: {error}") from None
    return ruleset


def where_of(ruleset: Ruleset, table: Table, part: Set | Object) -> str:
    """Return the place of a part of a table in words."""
    line, column = part.place
    return f"{ruleset.source}:{line}:{column}" if line else f"{ruleset.source}: table {table.family} {table.name}"


def change(ruleset: Ruleset, text: str, source: str = "<commands>", folder: Path | None = None) -> Ruleset:
    """Carry out commands of nft on a canonical rule set, as `nft -f` does; the same object is returned.

    folder: as of load(). Raises RuleError, which names the place; then the rule set is of no use any more.
    """
    with no_garbage():
        return checked_objects(canonical(carry_out(ruleset, text, source, None if folder is None else beside(folder))))


def beside(folder: Path) -> Reader:
    """Return a reader of files in a folder and below it, by name or pattern; none that lies elsewhere is read.

    Of a path of the node's own, as /etc/nftables.d/nat.nft, the end counts: etc/nftables.d/nat.nft, nftables.d/nat.nft
    or nat.nft beside the rules.
    """

    def read(name: str) -> list[tuple[str, str]]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or not parts:
            raise ValueError(f"{name}: only files beside the rules are read; copy it there and write its name alone")
        ends = ["/".join(parts[n:]) for n in range(len(parts))]
        found = next(filter(None, (sorted(p for p in folder.glob(end) if p.is_file()) for end in ends)), [])
        if not found and not set("*?[") & set(name):
            more = f", as {parts[-1]} or with the end of its path" if len(ends) > 1 else ""
            raise ValueError(f"{folder / parts[-1]}: no such file; {name} has to lie beside the rules{more}")
        try:
            return [(str(p), read_text(p)) for p in found]
        except InputError as error:
            raise ValueError(str(error)) from None

    return read
