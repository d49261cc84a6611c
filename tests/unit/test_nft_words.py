"""The words of an nft text: those of a pattern that is as plain as nft(8) says it, whatever the order of its parts."""

import random
import re

import pytest

from fastnat import nftables
from fastnat.errors import RuleError
from fastnat.nftables import lexer
from fastnat.nftables.reserved import RESERVED

PLAIN = re.compile(
    r"""
    (?:[ \t\r]|\\\r?\n|\#[^\n]*(?=\n|\Z))*
  (?: (?P<end>[\n;])
  | "(?P<quoted>[^"\n]*)"
  | (?P<address>(?:[0-9a-fA-F]{1,2}:){5}[0-9a-fA-F]{1,2}(?![\w:])
      | (?=[0-9a-fA-F]*:[0-9a-fA-F]*:)[0-9a-fA-F:]+(?:(?<=:)\d+\.\d+\.\d+\.\d+|(?:\.\d+){3})?(?![\w])
      | \d+\.\d+\.\d+\.\d+(?![\w.]))
  | (?P<number>0x[0-9a-fA-F]+|\d+(?![\w])(?!:[0-9a-fA-F]{1,4}(?![\w:.])))
  | (?P<word>[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}(?![\w:.])|[A-Za-z_](?:[\w/.\-]|\\(?=\S))*\*?|\d+[A-Za-z_][\w.]*)
  | \$(?P<variable>\w[\w/.\-]*)
  | (?P<sign>==|!=|<=|>=|<<|>>|[{}()\[\]=<>&|^!,:.+\-/*@~])
  | \Z)
    """,
    re.VERBOSE,
)
PARTS = [
    *" \t\n;\"#\\$:.-/*_{}()=!<>&|^,+@~'é", "a", "f", "g", "Z", "0", "9", "12", "0x", "ab", "face", "fe80", "fd00::1",
    "10.0.0.1", "::", "dead:beef", "accept", "ip", "aa:bb:cc:dd:ee:ff", "1:2", "==", "<<", "\\\n", "3h",
    "::ffff:1.2.3.4",
]  # fmt: skip


def plainly(text):
    """Return (kind, text, place) of all words, or None where the text has something else."""
    found, at = [], 0
    while (m := PLAIN.match(text, at)) is not None:
        at = m.end()
        if m.lastgroup is None:
            break
        found.append((m.lastgroup, m[m.lastgroup], m.start(m.lastgroup) - (m.lastgroup in ("quoted", "variable"))))
    return found if at == len(text) else None


@pytest.mark.parametrize("seed", range(20))
def test_words_are_those_of_the_plain_pattern(seed):
    rng = random.Random(seed)
    for _ in range(400):
        text = "".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 12)))
        sources = lexer.Sources()
        try:
            said = [(t.kind, t.text, t.at) for t in lexer.scan(sources, sources.add("x", text))[:-1]]
        except RuleError:
            said = None
        assert said == plainly(text), text


DECLARED = {
    "table": "table ip {} {{ }}\n", "chain": "table ip t {{ chain {} {{ }}; }}\n",
    "set": "table ip t {{ set {} {{ type ipv4_addr; }}; }}\n",
    "map": "table ip t {{ map {} {{ type ipv4_addr : verdict; }}; }}\n",
    "counter": "table ip t {{ counter {} {{ }}; }}\n", "quota": "table ip t {{ quota {} {{ 5 bytes }}; }}\n",
}  # fmt: skip


@pytest.mark.parametrize("what", DECLARED)
def test_words_of_nft_name_nothing(what):
    """`chain mark` is refused by nft 1.0.6, with all else in the text; the kernel may have it, by JSON."""
    for word in RESERVED:
        (warning,) = nftables.load(DECLARED[what].format(word)).doubts
        assert f"{word!r} is a word of its language and names no {what}" in warning
    for word in (
        "filter",
        "nat",
        "input",
        "postrouting",
        "marks",
        "log-drop",
        "LOG",
        "saddr",
        "state",
        "related",
        "wan",
    ):
        assert not nftables.load(DECLARED[what].format(word)).doubts
