"""Text from rule files, dumps and runs, escaped for terminals and file formats: no comment acts as a command.

Sources: ECMA-48 (control sequences), UAX #9 (directions); XML 1.0 (Char); the Prometheus text exposition format
0.0.4; CommonMark (backslash escapes) and GFM (tables); OWASP, CSV injection.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

# how a cell begins that a spreadsheet takes for a formula. "-" is left: rules and negative numbers begin with it
FORMULA = ("=", "+", "@", "\t", "\r")
MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
# at the begin of a line these make a heading, a list, a rule or a title of what stands above
MARKDOWN_BLOCK = re.compile(r"#|[+-](?=\s|$)|[=-](?=[=\-\s]*$)|\d{1,9}(?=[.)](?:\s|$))")


def plain(text: object) -> str:
    r"""Return text as one line that a terminal only shows: unprintable characters become \x1b, \u202e, \n."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in said)


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
    """Return a value as JSON; DEL is the one control character that json.dumps leaves as it is."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def cell(text: object) -> str:
    """Return outside text as a CSV cell that a spreadsheet does not evaluate."""
    said = str(text)
    return f"'{plain(said)}" if said.startswith(FORMULA) else plain(said)
