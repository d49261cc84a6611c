"""What the documents say about the project is true."""

import ast
import contextlib
import functools
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from laboratory.console import BLOCK, DOCUMENTS, commands, output_of

import fastnat
from fastnat.cli import group

ROOT = Path(__file__).parents[2]
# those of the guides take seconds each
EXAMPLES = [
    pytest.param(d.name, *pair, marks=[] if d.name == "README.md" else pytest.mark.slow)
    for d in DOCUMENTS
    for block in BLOCK.findall(d.read_text())
    for pair in commands(block)
]
PYTHON = [
    (d.name, code, shown)
    for d in DOCUMENTS
    for code, shown in re.findall(r"```python\n(.*?)```\nprints\n```\n(.*?)```", d.read_text(), re.DOTALL)
]
WRITTEN = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("[!.]*/README.md"),
        *ROOT.glob("fastnat/*/README.md"),
    }
)
NAMED = [
    (doc.name, test)
    for doc in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
    for test in sorted(set(re.findall(r"tests/[\w/]+\.py(?:::\w+)?", doc.read_text())))
]


@functools.cache
def functions(path):
    """Return the names of the functions of a file."""
    return {n.name for n in ast.parse((ROOT / path).read_text()).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize(("doc", "test"), NAMED)
def test_named_tests_exist(doc, test):
    path, _, name = test.partition("::")
    assert functions(path).issuperset([name] if name else []), f"{doc} names {test}"


def anchor(heading):
    """Return the name by which a link leads to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def cells(row):
    """Return how many cells a row of a table has."""
    return len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row)))


@pytest.mark.parametrize("doc", WRITTEN, ids=lambda doc: str(doc.relative_to(ROOT)))
def test_a_document_is_whole(doc):
    """It has a title and text; rows of a table have as many cells as its head; links lead to what is there."""
    text = re.sub(r"```.*?```", "", doc.read_text(), flags=re.DOTALL)
    lines = text.splitlines()
    assert lines and lines[0].startswith("# ") and len(lines) > 5
    heads = [n for n, line in enumerate(lines) if re.match(r"\|[ :|-]+\|$", line)]
    for head in heads:
        for row in lines[head + 1 :]:
            if not row.startswith("|"):
                break
            assert cells(row) == cells(lines[head]), row
    for target, place in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        there = doc.parent / target if target else doc
        assert there.exists(), target
        if place:
            assert place in {anchor(line.lstrip("#")) for line in there.read_text().splitlines() if line[:1] == "#"}, (
                place
            )


@pytest.mark.parametrize(("doc", "command", "shown"), EXAMPLES)
def test_commands_print_what_the_documents_show(doc, command, shown):
    assert output_of(command) == shown, f"{doc}: run python tests/laboratory/console.py"


@pytest.mark.parametrize(("doc", "code", "shown"), PYTHON)
def test_python_in_the_documents_prints_what_they_show(doc, code, shown, capsys):
    exec(compile(code, doc, "exec"), {})
    assert capsys.readouterr().out == shown


# rows of the README's table of instructions, and the operations of the baseline in them
COUNTED = {
    "UDP, MASQUERADE": ["new", "established"],
    "TCP: SYN, ACK": ["new_tcp", "established_tcp"],
    "IPv6 UDP": ["new_ipv6", "established_ipv6"],
    "IPv6 TCP": ["new_ipv6_tcp", "established_ipv6_tcp"],
    "UDP, MASQUERADE, beside rules of filter and mangle": ["new_filtered", "established_filtered"],
    "TCP, MASQUERADE, beside rules of filter and mangle": ["new_filtered_tcp", "established_filtered_tcp"],
    "DNAT, then MASQUERADE, UDP": ["new_dnat", "established_dnat"],
    "frames of 64 bytes, UDP": ["new_frames", "established_frames"],
    "frames of 64 bytes, TCP": ["new_frames_tcp", "established_frames_tcp"],
    "port search where 99 % and then all ports are taken, UDP": ["port_search_99"],
    "one of 10 or 10,000 services of one endpoint, iptables, TCP": ["services_10", "services_10000"],
    "one of 10 or 10,000 services of one endpoint, nftables, TCP": ["nft_services_10", "nft_services_10000"],
    "the first answer of UDP": ["first_answer"],
    "ICMP echo": ["new_icmp", "established_icmp"],
    "one `process_packet`, UDP": ["process_packet"],
    "UDP with events on": ["new_events", "established_events"],
    "no rule at all": ["no_rules"],
    "NOTRACK": ["notrack"],
    "port search among established connections that have all ports, TCP": ["port_search_tcp_100"],
    "a SYN that takes over one of ports all in TIME_WAIT": ["port_search_tcp_closed"],
    "the life of a TCP connection, seven packets from SYN to last ACK": ["tcp_life"],
}


def test_instructions_in_the_readme_are_those_of_the_baseline():
    baseline = json.loads((ROOT / "benchmarks" / "instructions.json").read_text())["instructions"]
    lines = (ROOT / "README.md").read_text().splitlines()
    assert sorted(name for names in COUNTED.values() for name in names) == sorted(baseline)
    for label, names in COUNTED.items():
        (cells,) = (line.split("|")[2:4] for line in lines if line.startswith(f"| {label} |"))
        said = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", " ".join(cells))]
        assert said == [round(baseline[name]) for name in names], label


def test_readme_api_example_runs(capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "src=203.0.113.11 dst=198.51.100.10" in shown
    assert "{'used': 1, 'free': 64511, 'total': 64512} 0" in shown


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path):
    """The table of questions: on the packaged node, a dump and a capture of its own."""
    fastnat.Node.example().save(tmp_path / "node")
    fastnat.Node.example().save(tmp_path / "new")
    (tmp_path / "in.pcapng").write_bytes((ROOT / "tests" / "data" / "one-query.pcapng").read_bytes())
    (tmp_path / "question.toml").write_text("[workload]\nflows = 2000\n[vary]\naddresses = [1, 2]\n")
    dump = (ROOT / "docs" / "guides" / "dump.txt").read_text()
    words = r"`(?:conntrack -L \\\| )?(fastnat (?!snapshot|report)[^`]*(?:node/|question|top -)[^`]*)`"
    found = re.findall(words, (ROOT / "README.md").read_text())
    assert len(found) >= 9
    for command in found:
        # fewer flows, and the kernel of which a rate is found sooner
        command = command.replace(" exhaust node/ --proto", " exhaust node/ --flows 3000 --profile linux-5.4 --proto")
        with contextlib.chdir(tmp_path):
            result = CliRunner().invoke(group, shlex.split(command)[1:], input=dump)
        assert result.exit_code == 0, f"{command}: {result.exception!r} {result.output}"
