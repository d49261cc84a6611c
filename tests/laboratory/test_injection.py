"""Text from rules, dumps and runs is shown, never obeyed: each format judged by a reader of that format."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml
from markdown_it import MarkdownIt
from nodes import examples
from prometheus_client.parser import text_string_to_metric_families

import fastnat
from fastnat import cli
from fastnat.exhaustion import Workload, report
from fastnat.exhaustion.document import Document
from fastnat.exhaustion.html import to_html
from fastnat.exhaustion.variants import Compared, Variant, compare
from fastnat.util import escapes

EVIL = 'x"} 1\nevil_metric{a="b"} 42\n# \x1b]0;owned\x07\x1b[2J<script>alert(1)</script>|a|b|`**[l](javascript:1)'
# any text, and what some format takes for more than text
PIECES = [
    "\x1b[31m", "\x1b]0;owned\x07", "\x9b2J", "\u202e", "\r", "\n", "|", "`", "**", "[red]", ":b:", "</script>", "\\",
    '"', "{}", "=1+1", "# ", "- ", "1. ", "<b>", "&lt;", "$x$", "_", "\x00", "\ufffe", "\ud800", "@", "\t", "---",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=8).map("".join)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def doc():
    results = compare(
        fastnat.Node.example(), Workload((("203.0.113.10", 53),), flows=3000),
        [Variant(), Variant((("random-fully", True),), "--random-fully")], seeds=1,
    )  # fmt: skip
    return Document("node", "linux-6.18", Workload((("203.0.113.10", 53),), flows=3000), results)


def hostile(doc, text, **outcome):
    """Return a run with that text in every place for text."""
    first, second = doc.results
    named = Compared(Variant((), f"a{text}"), [replace(first.outcomes[0], **outcome)])
    work = replace(doc.work, proto=text, destinations=((text, 53),))
    results = [named, replace(second, variant=Variant((), f"b{text}"))]
    return replace(doc, node=text, profile=text, version=text, work=work, results=results)


def screen_of(text):
    """Return a terminal on which a text was printed."""
    screen = pyte.Screen(300, 100)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return screen


def is_calm(text):
    """Tell whether a terminal only showed a text: no title, no colour, nothing deleted."""
    screen = screen_of(text)
    cells = [cell for row in screen.buffer.values() for cell in row.values()]
    plain = all((c.fg, c.bg, c.bold, c.reverse, c.blink) == ("default", "default", False, False, False) for c in cells)
    return screen.title == "" and plain and not CONTROL.search(text)


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(200), deadline=None)
def test_plain_text_is_one_calm_line(text):
    shown = escapes.plain(text)
    assert "\n" not in shown
    assert is_calm(shown)
    if text.isascii() and text.isprintable():
        assert screen_of(shown).display[0].rstrip() == text.rstrip()


@pytest.mark.slow
@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(100), deadline=None)
def test_every_form_is_calm_on_a_terminal(doc, text):
    made = hostile(doc, text)
    for form in (report.to_text, report.to_markdown, to_html, report.to_junit, report.to_prometheus):
        shown = form(made)
        assert is_calm(shown)
        shown.encode()
    if text:
        assert report.to_text(made).count("\n") == report.to_text(hostile(doc, "x")).count("\n")


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(200), deadline=None)
def test_prometheus_has_the_same_samples(doc, text):
    def samples(of):
        families = text_string_to_metric_families(report.to_prometheus(of))
        return [(s.name, s.labels["variant"], s.value) for f in families for s in f.samples]

    mine, other = samples(hostile(doc, text)), samples(doc)
    assert [(name, value) for name, _, value in mine] == [(name, value) for name, _, value in other]
    labels = {label for _, label, _ in mine}
    assert labels == {"\n".join(map(escapes.plain, f"{first}{text}".split("\n"))) for first in "ab"}


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(200), deadline=None)
def test_junit_has_the_same_cases(doc, text):
    # a cause that no table of words knows stands in the verdict as it is
    made = hostile(doc, text, failed=5, first_failure=1, first_failure_time=0.0, reasons={text: 5})
    made = replace(made, incomplete=text)
    (suite,) = JUnitXml.fromstring(report.to_junit(made).encode())
    cases = [(case.name, [(type(r).__name__, r.message) for r in case.result]) for case in suite]
    shown = escapes.plain(text)
    expected = [
        (escapes.plain(f"a{text}"), [("Failure", "0.166% of the flows failed, 0.100% may")]),
        (escapes.plain(f"b{text}"), []),
    ]
    assert cases == [*expected, *([("all runs", [("Error", shown)])] if text else [])]


class Tags(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, sorted(name for name, _ in attributes)))

    def handle_data(self, data):
        self.text += data


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(200), deadline=None)
def test_html_has_the_same_elements(doc, text):
    page = Tags(to_html(hostile(doc, text)))
    assert page.tags == Tags(to_html(hostile(doc, "x"))).tags
    assert escapes.plain(text) in page.text


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(300), deadline=None)
def test_markdown_shows_the_text_and_has_the_same_elements(doc, text):
    """Rendered by another program: as many elements as with a harmless word, and the text as it is."""

    def page(of):
        made = replace(hostile(doc, of), incomplete=of)
        return Tags(MarkdownIt("commonmark").enable("table").render(report.to_markdown(made)))

    shown = escapes.plain(text).strip()
    if not shown:
        return
    mine = page(text)
    assert mine.tags == page("x").tags
    # that it is incomplete, the variants' names, the comparison
    assert re.sub(r"\s+", " ", mine.text).count(re.sub(r"\s+", " ", shown)) >= 4


@given(TEXTS)
@pytest.mark.drawn
@settings(max_examples=examples(200), deadline=None)
def test_csv_cells_are_no_formulas(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow((escapes.cell(text), 5))
    ((cell, number),) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert not cell.startswith(("=", "+", "@", "\t", "\r"))
    assert cell.removeprefix("'") == escapes.plain(text) or cell == escapes.plain(text)
    assert number == "5"
    assert escapes.cell("-A POSTROUTING -j MASQUERADE") == "-A POSTROUTING -j MASQUERADE"
    assert escapes.cell("-5") == "-5"


@pytest.mark.parametrize("text", ["\x1b[31mred\x1b]0;owned\x07", "[red]x[/red]", ":b::smile:", "[/x]", "\u202eabc"])
def test_commands_show_names_and_comments_as_they_are(tmp_path, capfd, monkeypatch, text):
    """Rules, dumps, names of files and arguments, on every way that a command prints them."""
    monkeypatch.setenv("COLUMNS", "250")
    word = re.sub(r"\s", "", text)
    node = tmp_path / "node"
    fastnat.Node.example().save(node)
    rules = (node / "rules.v4").read_text()
    rule = f'-A POSTROUTING -m comment --comment "c{word}" -j MASQUERADE\n'
    (node / "rules.v4").write_text(rules.replace("-A POSTROUTING", rule + "-A POSTROUTING", 1))
    dump = tmp_path / "dump"
    dump.write_text(
        f"udp 17 29 src=1.1.1.1 dst={word} sport=1 dport=2 src={word} dst=5.5.5.5 sport=2 dport=1 mark=0 use=1\n"
    )
    shown = {}
    for words in (
        ["trace", str(node)], ["trace", str(node), "--json"], ["trace", str(node), "--kernel"], ["check", str(node)],
        ["top", str(dump)], ["top", str(dump), "--csv"], ["check", str(tmp_path / text)],
        ["report", str(tmp_path / text)], ["exhaust", "--json", str(tmp_path / "none" / text)],
        ["exhaust", "--vary", f"{text}=1"], ["trace", "-i", text], ["plan", "--rate", "1", "--cloud", text],
        ["bench", "--fail-on", text, "--compare", str(dump)], [f"--{text}"], [text], ["sweep", text],
        ["replay", str(node), str(tmp_path / text)], ["conntrack", str(node), "--start-from", str(tmp_path / text)],
    ):  # fmt: skip
        cli.run(words)
        said = capfd.readouterr()
        # lines of CSV end so
        assert is_calm(said.out.replace("\r\n", "\n")), words
        assert is_calm(said.err), words
        shown[tuple(words[:1])] = said.out + said.err
        if words[0] == "trace" and len(words) == 2:
            assert f'"c{escapes.plain(word)}"' in said.out


def test_an_address_is_no_emoji(tmp_path, capfd):
    dump = tmp_path / "dump"
    far, near = "2001:db8::1", "2001:db8:a:b::25"
    dump.write_text(f"udp 17 29 src={far} dst={near} sport=1 dport=2 src={near} dst={near} sport=2 dport=1025 use=1\n")
    assert cli.run(["top", str(dump)]) == 0
    assert f"{near} towards udp [{near}]:2" in capfd.readouterr().out


@pytest.mark.slow
def test_plots_of_hostile_texts(doc, tmp_path):
    """A dollar begins no formula, a letter without a glyph is no warning."""
    from fastnat.exhaustion.plots import draw

    for n, text in enumerate((EVIL, "$\\frac{", "_hidden", "\U0001f600\u0e01", "$x$ $")):
        draw(hostile(doc, text), str(tmp_path / f"{n}.svg"))
        assert (tmp_path / f"{n}.svg").read_text().startswith("<?xml")
