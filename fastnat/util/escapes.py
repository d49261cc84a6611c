"""Text from rule files, dumps and runs, escaped for terminals and file formats: no comment acts as a command.

Sources: ECMA-48 (control sequences), UAX #9 (directions); XML 1.0 (Char); the Prometheus text exposition format
0.0.4; CommonMark (backslash escapes) and GFM (tables); OWASP, CSV injection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice
from typing import Any

# of a list in JSON that are written at a time
VALUES = 1000
# how a cell begins that a spreadsheet takes for a formula. "-" is left: rules and negative numbers begin with it
FORMULA = ("=", "+", "@", "\t", "\r")
MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
SURROGATE, HALVES_OF_PAIRS = re.compile("[\ud800-\udfff]"), re.compile(r"\\ud[89a-f]")
# at the begin of a line these make a heading, a list, a rule or a title of what stands above
MARKDOWN_BLOCK = re.compile(r"#|[+-](?=\s|$)|[=-](?=[=\-\s]*$)|\d{1,9}(?=[.)](?:\s|$))")


def plain(text: object) -> str:
    r"""Return text as one line that a terminal only shows: unprintable characters become \x1b, \u202e, \n."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(c if c.isprintable() else _escaped(c) for c in said)


def _escaped(c: str) -> str:
    """Return the escape of a character; of a byte of a file's name that is no UTF-8 that of the byte."""
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c.encode("unicode_escape").decode()


def markup(text: object) -> str:
    """Return text as the content or quoted attribute of HTML and XML."""
    return escape(plain(text))


def markdown(text: object) -> str:
    """Return text as Markdown that shows it, within a line or a cell of a table or at the begin of a paragraph."""
    said = MARKDOWN.sub(r"\\\g<0>", plain(text).strip())
    said = said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    block = MARKDOWN_BLOCK.match(said)
    if not block:
        return said
    # of "1." the full stop makes the list, of "- " the dash
    at = block.end() if said[0].isdecimal() else 0
    return f"{said[:at]}\\{said[at:]}"


def label(text: object) -> str:
    """Return text as the value of a Prometheus label, within its quotes."""
    lines = (plain(line).replace("\\", "\\\\").replace('"', '\\"') for line in str(text).split("\n"))
    return "\\n".join(lines)


def json_text(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON; DEL is the one control character that json.dumps leaves as it is.

    Half a surrogate pair, as names that are no UTF-8 have it, is escaped: strict readers refuse it.
    """
    text = json.dumps(value, indent=indent)
    if HALVES_OF_PAIRS.search(text):
        text = json.dumps(_whole(value), indent=indent)
    return text.replace("\x7f", "\\u007f")


def json_texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield json_text(list(values), indent=1) in parts, as there may be millions of values."""
    values = iter(values)
    begin, end = "[", "]"
    while part := list(islice(values, VALUES)):
        # without its brackets, and the newline in front of the second one
        yield begin + json_text(part, indent=1)[1:-2]
        begin, end = ",", "\n]"
    yield end if begin == "," else begin + end


def _whole(value: Any) -> Any:
    """Return a value of JSON without halves of surrogate pairs."""
    if isinstance(value, str):
        return SURROGATE.sub(lambda half: _escaped(half[0]), value)
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def cell(text: object) -> str:
    """Return outside text as a CSV cell that a spreadsheet does not evaluate."""
    said = str(text)
    return f"'{plain(said)}" if said.startswith(FORMULA) else plain(said)
