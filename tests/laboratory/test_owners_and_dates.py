"""What the commands say about rules that ask who sends a packet, or when, and about those that --lenient loads."""

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
