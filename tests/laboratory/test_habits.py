"""What people expect of any command: -h, -V, units behind numbers; and what a trace says in words."""

import json

import pytest
from click.testing import CliRunner

import fastnat
from fastnat.cli import COMMANDS, group
from fastnat.cli.terminal import Count, Number


def run(*words):
    return CliRunner().invoke(group, list(words))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_short_form(command):
    assert run(command, "-h").output == run(command, "--help").output != ""


def test_the_version_has_a_short_form():
    assert fastnat.__version__ in run("-V").output


@pytest.mark.parametrize(("kind", "text", "number"), [
    (Number(0), "3000/s", 3000), (Number(0), "2.5k", 2500), (Number(0), "3k/s", 3000), (Number(0, 1), "5%", 0.05),
    (Count(1), "100k", 100_000), (Count(1), "2M", 2_000_000), (Count(1), "7", 7), (Number(0), "1e3", 1000),
])  # fmt: skip
def test_numbers_take_units(kind, text, number):
    assert kind.convert(text, None, None) == number


@pytest.mark.parametrize(("kind", "text"), [
    (Count(1), "1.5"), (Count(1), "5%"), (Count(1), "k"), (Count(1), "1.0001k"), (Number(0), "5 apples"),
    (Number(0, 1), "200%"),
])  # fmt: skip
def test_other_units_are_wrong_usage(kind, text):
    with pytest.raises(fastnat.cli.click.exceptions.BadParameter):
        kind.convert(text, None, None)


def test_units_reach_the_question():
    said = run("exhaust", "--flows", "2k", "--rate", "1k/s", "--max-fail", "5%").output
    assert "All 2,000 flows found a port" in said


@pytest.mark.parametrize(("proto", "sent", "answered"), [("icmp", 8 << 8, 0), ("udp", 53, 40_000), ("tcp", 53, 40_000)])
def test_a_trace_shows_the_answer_too(proto, sent, answered):
    """The answer reaches the client again, whoever it is translated to."""
    told = json.loads(run("trace", "-p", proto, "--reply", "--json").output)
    assert told["before"][3] == sent
    assert told["reply"]["after"][2] == "10.244.1.2"
    assert told["reply"]["after"][3] == answered
    assert told["reply"]["ctinfo"] == "ESTABLISHED_REPLY"
    assert "The answer to it" in run("trace", "-p", proto, "--reply").output


def test_a_lack_of_ports_is_said_in_words(tmp_path):
    node = fastnat.Node.example()
    node.load_rules("*nat\n-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 2000-2009\nCOMMIT\n")
    node.save(tmp_path / "node")
    nat = fastnat.Engine(node)
    nat.process(
        nat.packets(proto="udp", src="10.244.1.9", sport=range(5000, 5010), dst="203.0.113.10", dport=53, iface="cni0")
    )
    (tmp_path / "dump").write_text(nat.conntrack.format())
    said = run("trace", str(tmp_path / "node"), "--start-from", str(tmp_path / "dump")).output
    assert "ports were tried, none was free: lost at confirm (insert_failed, drop)" in said


def test_clouds_are_compared_in_one_table():
    result = run("plan", "--cloud", "all", "--rate", "1k/s", "--hold", "exp:5")
    told = json.loads(run("plan", "--cloud", "all", "--rate", "1k/s", "--hold", "exp:5", "--json").output)
    assert result.exit_code == 0
    for cloud in told:
        assert cloud["cloud"] in result.output
        alone = json.loads(run("plan", "--cloud", cloud["cloud"], "--rate", "1k", "--hold", "exp:5", "--json").output)
        assert alone == cloud


def test_what_fits_into_no_cloud_is_a_no():
    words = ("--rate", "100k/s", "--hold", "60")
    assert run("plan", "--cloud", "all", *words).exit_code == 1
    assert run("plan", "--cloud", "aws-nat-gateway", *words).exit_code == 1
