"""What all commands have in common: -o, examples, manual pages, completion by the shell."""

import csv
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from markdown_it import MarkdownIt

import fastnat
from fastnat import capture
from fastnat.cli import COMMANDS, EXAMPLES, examples_of, forms, group, man
from fastnat.exhaustion.factors import FACTORS
from fastnat.exhaustion.plan import clouds

ROOT = Path(__file__).parents[2]
SCENARIO = "[workload]\nflows = 300\n[vary]\naddresses = [1, 2]\n"
QUICK = {
    "exhaust": "exhaust node --flows 2k", "plan": "plan --rate 5/s --hold 2 --cloud all",
    "sweep": "sweep question.toml --jobs 1",
    "report": "report run.json", "top": "top dump.txt", "doctor": "doctor dump.txt node", "trace": "trace node",
    "diff": "diff node new --packets 600", "conntrack": "conntrack node --start-from dump.txt",
    "snapshot": "snapshot taken", "replay": "replay node in.pcapng", "check": "check node",
    "bench": "bench --from-json figures.json",
}  # fmt: skip
# other questions of theirs
MORE = {
    "rates": "exhaust node --proto udp --hold 1 --profile linux-5.4 --vary ports=1024-1200",
    "a node's plan": "plan --rate 5/s --fails 10%", "clouds": "plan --rate 5/s --cloud list",
    "a cloud": "plan --rate 5/s --cloud gcp-cloud-nat", "stale": "doctor dump.txt node --stale",
}  # fmt: skip


def command_of(name):
    """Return a command of click."""
    return group.get_command(click.Context(group), name)


def forms_of(name):
    """Return the forms that the help of a command names."""
    (option,) = (p for p in command_of(name).params if "-o" in p.opts)
    return option.type.choices if isinstance(option.type, click.Choice) else forms.COMMON


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with every file that examples and questions name."""
    folder = tmp_path_factory.mktemp("commands")
    for name in ("node", "new"):
        fastnat.Node.example().save(folder / name)
    for name in ("dump.txt", "earlier.txt"):
        (folder / name).write_bytes((ROOT / "docs" / "guides" / "dump.txt").read_bytes())
    (folder / "question.toml").write_text(SCENARIO)
    with (folder / "in.pcapng").open("wb") as file:
        capture.Writer(file).write(0.0, "cni0", b"\x45" + bytes(19))
    for name in ("before.txt", "after.txt"):
        line = "cpu=0 found=0 invalid=0 insert=0 insert_failed=9 drop=9 early_drop=0 error=0 search_restart=0\n"
        (folder / name).write_text(line)
    (folder / "dmesg.txt").write_text("nf_conntrack: table full, dropping packet\n")
    times = dict.fromkeys(("low", "high", "ns"), 1.0)
    there = dict.fromkeys(("node", "profile", "cpu", "fastnat", "python", "numpy"), "1")
    bench = {"format": 2, "date": "2026-01-01", "environment": there, "counters": {"probes_p99": 1}, "instructions": {}}
    (folder / "figures.json").write_text(json.dumps({**bench, "times": {"b": times}}))
    result = CliRunner().invoke(group, ["exhaust", "--flows", "2000", "--json", str(folder / "run.json")])
    assert result.exit_code == 0
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """A copy of that folder, as the working directory."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # what a snapshot asks is not there, but for what it needs
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ip").write_text("#!/bin/sh\necho '[]'\n")
    for tool in ("iptables-save", "sysctl", "conntrack"):
        (tools / tool).write_text("#!/bin/sh\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    return tmp_path


def answer(words):
    """Return what a command prints on standard output; 0 and 1 are answers."""
    result = CliRunner().invoke(group, shlex.split(words))
    assert result.exit_code in (0, 1), (words, result.output)
    assert not result.exception or isinstance(result.exception, SystemExit), (words, result.exception)
    return result.stdout


def judge(form, said):
    """Check that text is of a form."""
    if form in ("json", "github", "bencher"):
        json.loads(said)
    elif form == "csv":
        rows = list(csv.reader(io.StringIO(said, newline="")))
        assert len({len(row) for row in rows}) == 1
        assert len(rows[0]) > 1
        assert not any(re.fullmatch(r"[\d,]*\d,\d{3}|[\d.]+%", cell) for row in rows for cell in row), (
            "numbers are bare"
        )
    elif form == "md":
        tokens = MarkdownIt("commonmark").enable("table").parse(said)
        assert tokens
        assert not any(t.type in ("code_block", "html_block", "heading_open") for t in tokens)
    elif form in ("html", "junit"):
        assert said.startswith(("<!doctype html>", "<?xml"))
    else:
        assert said.strip()


# they simulate for seconds, or start processes
SLOW = re.compile(r"^rates|^a node|^sweep|^plan.*html|^exhaust node/ .*--hold|^plan (?!.*--cloud)|--plot|--scheduler")


def slowly(*values):
    """Return a case, marked slow if it is."""
    return pytest.param(*values, marks=[pytest.mark.slow] if SLOW.search(" ".join(values)) else [])


CASES = [
    slowly(name, words, form)
    for name, words in [*QUICK.items(), *MORE.items()]
    for form in (forms_of(name) if name in QUICK else forms.COMMON)
]
EXAMPLE_CASES = [slowly(words) for name in ["", *COMMANDS] for words, _ in (examples_of(name) if name else EXAMPLES)]


def test_the_common_forms_are_those_of_every_command():
    assert set(QUICK) == set(COMMANDS)
    for name in COMMANDS:
        assert set(forms.COMMON) <= set(forms_of(name)), name
        assert set(forms_of(name)) <= forms.MEANINGS.keys()


@pytest.mark.one_of(2)
@pytest.mark.parametrize(("name", "words", "form"), CASES)
def test_standard_output_is_of_the_form_that_was_asked_for(name, words, form, place):
    judge(form, answer(f"{words} -o {form}"))


def test_text_is_the_form_that_nobody_asks_for(place):
    for words in (QUICK["check"], QUICK["trace"], QUICK["top"], QUICK["conntrack"], QUICK["report"]):
        assert answer(words) == answer(f"{words} -o text")


@pytest.mark.parametrize(
    "name", [n for n in COMMANDS if any("--json" in p.opts and p.is_flag for p in command_of(n).params)]
)
def test_flags_of_before_say_the_same(name, place):
    flags = [p.opts[0] for p in command_of(name).params if p.opts[0].lstrip("-") in forms_of(name) and p.is_flag]
    for flag in flags:
        assert answer(f"{QUICK[name]} {flag}") == answer(f"{QUICK[name]} -o {flag[2:]}")
        refused = CliRunner().invoke(group, shlex.split(f"{QUICK[name]} {flag} -o md"))
        assert refused.exit_code == 2
        assert f"{flag} and -o md exclude each other" in refused.output


def test_the_run_on_standard_output_has_two_names(place):
    both = [json.loads(answer(f"exhaust --flows 2k {words}")) for words in ("--json -", "-o json", "--json - -o json")]
    runs = [{k: v for k, v in run.items() if k != "rows"} for doc in both for run in doc["runs"]]
    assert runs[: len(runs) // 3] * 3 == runs
    assert CliRunner().invoke(group, ["exhaust", "--json", "-", "-o", "csv"]).exit_code == 2


def test_a_snapshot_goes_where_it_was_said_before(place):
    assert answer("snapshot -o taken").startswith("taken: ")
    assert answer("snapshot other").replace("other", "taken") == answer("snapshot -o third").replace("third", "taken")
    for words in (["snapshot"], ["snapshot", "-o", "json"], ["snapshot", "x", "-o", "folder"]):
        assert CliRunner().invoke(group, words).exit_code == 2


def test_what_fits_no_cloud_is_an_answer_in_every_form(place):
    for form in forms_of("plan"):
        words = ["plan", "--cloud", "all", "--rate", "100k/s", "--hold", "1m", "-o", form]
        result = CliRunner().invoke(group, words)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1
        judge(form, result.stdout)


def test_a_node_that_cannot_be_used_is_an_answer_in_every_form(place):
    (place / "node" / "rules.v4").write_text("*nat\n-A POSTROUTING -j NONESUCH\nCOMMIT\n")
    assert json.loads(answer("check node -o json"))["error"]
    assert "False" in answer("check node -o csv")


@pytest.mark.parametrize("words", EXAMPLE_CASES)
def test_examples_of_the_help_run(words, place):
    """As they stand there; with fewer flows, packets or connections where these take long."""
    name = words.split()[0]
    known = {
        "exhaust": " --flows 2k --profile linux-5.4",
        "diff": " --packets 600",
        "bench": " --from-json figures.json",
    }
    words = words.partition(" >")[0]
    words, _, given = words.partition(" <")
    if "--hold exp:5 --clients" in words:
        words += " --vary ports=1024-1200 --clients 20"
    if "addresses=1:2" in words or words.endswith("exhaust"):
        words += " --seeds 1"
    if name == "snapshot":
        shutil.rmtree("node")
    words = re.sub(r"--(dst|proto|clients) \S+(?= .*--\1)", "", f"{words}{known.get(name, '')}")
    # there is no cluster: that is said
    words = words.replace("tcp://scheduler:8786", "none://there")
    result = CliRunner().invoke(group, shlex.split(words), input=Path(given).read_bytes() if given else None)
    if "--scheduler" in words:
        assert "cannot be reached" in str(result.exception)
        return
    assert result.exit_code in (0, 1), (words, result.output)
    assert not result.exception or isinstance(result.exception, SystemExit), (words, result.exception)
    assert words.split()[0] in COMMANDS


def test_every_help_has_examples_and_every_option_a_help():
    for name in COMMANDS:
        said = CliRunner().invoke(group, [name, "-h"]).output
        assert len(examples_of(name)) >= 2
        for words, what in examples_of(name):
            assert f"  fastnat {words}\n      {what}\n" in said.replace("\n  ", "\n"), words
            assert len(words) < 90
            assert words.split()[0] == name
        assert [p.opts for p in command_of(name).params if isinstance(p, click.Option) and not p.help] == []


def test_manual_pages_are_those_of_the_help(capsys):
    assert man.main([str(ROOT / "docs" / "man"), "--check"]) == 0, capsys.readouterr().out


def test_pages_that_are_not_those_of_the_help_are_named(tmp_path, capsys):
    assert man.main([str(tmp_path)]) == 0
    assert man.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "fastnat-top.1").write_text("another")
    (tmp_path / "fastnat-gone.1").write_text("of a command of before")
    (tmp_path / "fastnat.1").unlink()
    assert man.main([str(tmp_path), "--check"]) == 1
    assert [line.split(":")[0].rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines()] == [
        "fastnat-gone.1", "fastnat-top.1", "fastnat.1",
    ]  # fmt: skip
    man.main([str(tmp_path)])
    assert man.main([str(tmp_path), "--check"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs" / "man").glob("*.1")))
def test_manual_pages_are_read_by_man(page):
    """Without a warning; with every option, example and paragraph of the help."""
    groff = shutil.which("groff")
    assert groff, "needs groff: apt-get install groff-base"
    done = subprocess.run(
        [groff, "-man", "-Tascii", "-P-c", "-ww", "-rLL=500n", ROOT / "docs" / "man" / page],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    shown = re.sub(r".\x08", "", done.stdout)
    name = page.removesuffix(".1").partition("-")[2]
    command = command_of(name) if name else group
    flat = " ".join(shown.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(re.search(rf"(?<!\S){re.escape(o)}(?![\w-])", shown) for o in parameter.opts), parameter.opts
            assert " ".join(parameter.help.split()) in flat
    for words, what in examples_of(name) if name else EXAMPLES:
        assert f"fastnat {words}" in shown
        assert what in shown
    for paragraph in command.help.split("\n\n"):
        assert " ".join(paragraph.split()) in flat


def completed(words, last):
    """Return what completes the beginning of a word."""
    complete = ShellComplete(group, {}, "fastnat", "_FASTNAT_COMPLETE")
    return [item.value for item in complete.get_completions(words.split(), last)]


@pytest.mark.parametrize(("words", "last", "found"), [
    ("exhaust --vary", "rand", ["random-fully"]), ("exhaust --vary", "random-fully,addr", ["random-fully,addresses="]),
    ("exhaust --vary", "profile=", ["profile=linux-5.4", "profile=linux-6.18"]),
    ("exhaust --vary", "addresses=1:2,profile=linux-5.4:", ["addresses=1:2,profile=linux-5.4:linux-6.18"]),
    ("exhaust --vary", "addresses=1,addr", []), ("exhaust --vary", "sport=seq", ["sport=sequential"]),
    ("exhaust --profile", "linux-5.4,", ["linux-5.4,linux-6.18"]), ("plan --profile", "linux-5", ["linux-5.4"]),
    ("diff --profile", "", ["linux-5.4", "linux-6.18"]), ("plan --cloud", "aws", ["aws-nat-gateway"]),
    ("plan --cloud", "", ["all", "list", *clouds()]), ("report -o", "j", ["json", "junit"]), ("", "sw", ["sweep"]),
    ("top", "--ea", ["--earlier"]),
])  # fmt: skip
def test_words_are_completed(words, last, found):
    assert sorted(completed(words, last)) == sorted(found)


def test_every_factor_is_completed():
    assert {value.rstrip("=") for value in completed("exhaust --vary", "")} == set(FACTORS)


@pytest.mark.slow
@pytest.mark.parametrize(("line", "found"), [
    ("fastnat exhaust --vary random-fully,addr", "random-fully,addresses="),
    ("fastnat exhaust --vary profile=", "linux-5.4 linux-6.18"),
    ("fastnat exhaust --vary profile=linux-5.4:lin", "linux-6.18"), ("fastnat plan --cloud gcp", "gcp-cloud-nat"),
    ("fastnat plan --rate 5 --profile ", "linux-5.4 linux-6.18"), ("fastnat sw", "sweep"),
    ("fastnat trace --pro", "--proto --profile"),
])  # fmt: skip
def test_bash_completes_what_stands_behind_an_equals_sign(line, found, tmp_path):
    """In bash itself, whose words end at "=" and ":"."""
    program = tmp_path / "fastnat"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -P -c 'from fastnat.cli import main; main()' \"$@\"\n")
    program.chmod(0o755)
    words = re.findall(r"[=:]|[^\s=:]+", line) + [""] * line.endswith(" ")
    script = (
        f'PATH={tmp_path}:$PATH; eval "$(_FASTNAT_COMPLETE=bash_source fastnat)"; compopt() {{ :; }}\n'
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({shlex.join(words)})\n"
        f"COMP_CWORD={len(words) - 1}; _fastnat_completion fastnat; echo \"${{COMPREPLY[@]}}\"\n"
    )  # fmt: skip
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.split() == found.split()


def test_no_form_is_printed_twice():
    """One place knows the forms: commands print answers by it alone."""
    for path in (ROOT / "fastnat" / "cli").glob("*.py"):
        if path.name not in ("forms.py", "terminal.py", "conntrack.py", "man.py"):
            assert not re.search(r"click\.echo\((?!len)|csv\.writer|^\s+print\(", path.read_text(), re.MULTILINE), path
