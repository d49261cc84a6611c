"""What the commands say about rules that ask who sends a packet, or when, and about those that --lenient loads."""

import json

import pytest
from click.testing import CliRunner
from nodes import make_node

import fastnat
from fastnat.cli import group

ISTIO = """*nat
:REDIRECTED - [0:0]
-A OUTPUT -o eth0 -m owner ! --uid-owner 1337 -j RETURN
-A OUTPUT -p tcp -j REDIRECTED
-A REDIRECTED -p tcp -j REDIRECT --to-ports 15001
COMMIT
"""
SENT = ["-p", "tcp", "-s", "198.51.100.10", "-d", "203.0.113.9", "--dport", "8080", "-i", "local"]


def run(*words):
    return CliRunner().invoke(group, [str(w) for w in words])


def saved(tmp_path, rules):
    node = make_node()
    node.load_rules(rules, lenient=True)
    node.save(tmp_path / "node")
    return tmp_path / "node"


@pytest.mark.parametrize(("words", "port", "warned"), [
    ([], 8080, True), (["--lenient"], 8080, True), (["--uid", "1000"], 8080, False), (["--uid", "1337"], 15001, False),
    (["--gid", "1337"], 8080, True),
])  # fmt: skip
def test_trace_answers_for_the_sender_and_says_whom_it_assumes(tmp_path, words, port, warned):
    result = run("trace", saved(tmp_path, ISTIO), *SENT, *words)
    assert result.exit_code == 0 and f":{port} " in result.output.split("out     tcp")[1]
    assert ("uid 0 (root) is assumed: give --uid" in result.stderr) == warned


def test_a_forwarded_packet_needs_no_owner(tmp_path):
    result = run("trace", saved(tmp_path, ISTIO), "-s", "10.244.1.2", "-d", "203.0.113.9")
    assert result.exit_code == 0 and "assumed" not in result.stderr


def test_lenient_is_never_silent(tmp_path):
    rules = "*filter\n-A OUTPUT -m owner --uid-owner istio -j DROP\n-A OUTPUT -m time --weekdays Mon -j DROP\nCOMMIT\n"
    node = saved(tmp_path, rules)
    result = run("trace", node, *SENT, "--lenient")
    assert result.exit_code == 0 and result.stderr.count("never matches: ") == 2
    assert "names of the node's users" in result.stderr and "needs a date" in result.stderr
    assert isinstance(run("trace", node, *SENT).exception, fastnat.RuleError)
    with_date = run("trace", node, *SENT, "--lenient", "--epoch", 4 * 86_400)
    assert "dropped: rule_drop" in with_date.output


def test_exhaust_and_plan_say_who_is_assumed_to_send(tmp_path):
    node = saved(tmp_path, ISTIO)
    local = ["--iface", "local", "--proto", "tcp"]
    assert "root (uid 0, gid 0) is assumed" in run("exhaust", node, "--flows", "10", *local).stderr
    assert "assumed" not in run("exhaust", node, "--flows", "10").stderr


def test_names_of_users_are_those_of_the_node(tmp_path):
    rules = (
        "*filter\n-A OUTPUT -m owner --uid-owner www-data -j DROP\n-A OUTPUT -m owner --gid-owner ops -j DROP\nCOMMIT\n"
    )
    node = saved(tmp_path, "")
    (node / "rules.v4").write_text(rules)
    with pytest.raises(fastnat.RuleError, match="put its passwd and group there"):
        fastnat.Node.load(node)
    (node / "passwd").write_text(
        "root:x:0:0::/root:/bin/sh\n+::::::\nwww-data:x:33:33::/var/www:\nwww-data:x:34:34::/:\n"
    )
    (node / "group").write_text("ops:x:700:ann,bob\n")
    assert "dropped: rule_drop" in run("trace", node, *SENT, "--uid", 33).output
    assert "dropped: rule_drop" in run("trace", node, *SENT, "--uid", 1, "--gid", 700).output
    assert "dropped: rule_drop" not in run("trace", node, *SENT, "--uid", 34, "--gid", 33).output
    again = fastnat.Node.load(node)
    again.save(tmp_path / "again")
    assert fastnat.Node.load(tmp_path / "again").users == {"root": 0, "www-data": 33}


@pytest.mark.parametrize("line", ["ann", "ann:x", ":x:5", "ann:x:five", "ann:x:4294967295", "ann:x:-1"])
def test_a_wrong_passwd_is_named_by_its_line(tmp_path, line):
    node = saved(tmp_path, "")
    (node / "passwd").write_text(f"root:x:0:0::/:\n{line}\n")
    with pytest.raises(fastnat.InputError, match=r"passwd:2: "):
        fastnat.Node.load(node)


WORK_HOURS = "*filter\n-A FORWARD -m time --timestart 08:00 --timestop 18:00 --weekdays Thu -j DROP\nCOMMIT\n"


@pytest.mark.parametrize(("epoch", "dropped"), [
    ("2026-11-26T09:00", True), ("2026-11-26T19:00", False), ("2026-11-27T09:00", False),
    ("2026-11-26 09:00:00Z", True), ("1795683600", True),
])  # fmt: skip
def test_exhaust_plan_and_sweep_know_the_date(tmp_path, epoch, dropped):
    node = saved(tmp_path, WORK_HOURS)
    assert "needs a date" in str(run("exhaust", node, "--flows", "10").exception)
    said = run("exhaust", node, "--flows", "10", "--epoch", epoch, "--json", "-")
    assert said.exit_code == 0
    assert (json.loads(said.output)["runs"][0]["opened"] == 0) == dropped


def test_a_scenario_has_a_date(tmp_path):
    node = saved(tmp_path, WORK_HOURS)
    for date in ("2026-11-26T09:00:00Z", "1795683600"):
        (tmp_path / "question.toml").write_text(f'[node]\npath = "{node}"\nepoch = {date}\n[workload]\nflows = 10\n')
        out = tmp_path / f"{date[:4]}.csv"
        assert run("sweep", tmp_path / "question.toml", "--out", out, "--jobs", 1).exit_code == 0
    first, second = ((tmp_path / f"{n}.csv").read_text() for n in ("2026", "1795"))
    assert first == second


@pytest.mark.parametrize("epoch", ["tomorrow", "-1", "nan", "1e13", "2026-13-01"])
def test_what_is_no_date_is_refused(tmp_path, epoch):
    result = run("plan", saved(tmp_path, WORK_HOURS), "--rate", "10", f"--epoch={epoch}")
    assert result.exit_code == 2 and "neither seconds since 1970 nor" in result.output
