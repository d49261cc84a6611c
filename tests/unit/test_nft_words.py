"""The words of an nft text: those of a pattern that is as plain as nft(8) says it, whatever the order of its parts."""

import random
import re

import pytest

from fastnat.errors import RuleError
from fastnat.nftables import lexer

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
