"""What people expect of any command: -h, -V, units behind numbers; and what a trace says in words."""

import json

import click
import pytest
from click.testing import CliRunner

import fastnat
from fastnat.cli import COMMANDS, group
from fastnat.cli.terminal import Count, Mark, Quantity, Rate, Seconds, Share
from fastnat.exhaustion import scenario, variants

# whole numbers that count nothing of which there are thousands, and names that are numbers
BARE = ("--cpus", "--seed", "--seeds", "--jobs", "--sport", "--dport", "--uid", "--gid")


def run(*words):
    return CliRunner().invoke(group, list(words))


def options():
    """Return every option of every command, and the command's name."""
    commands = [(name, group.get_command(click.Context(group), name)) for name in COMMANDS]
    return [(name, p) for name, c in commands for p in c.params if isinstance(p, click.Option)]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_short_form(command):
    assert run(command, "-h").output == run(command, "--help").output != ""


def test_the_version_has_a_short_form():
    assert fastnat.__version__ in run("-V").output


@pytest.mark.parametrize(("kind", "text", "number"), [
    (Rate(0), "3000/s", 3000), (Rate(0), "2.5k", 2500), (Rate(0), "3k/s", 3000), (Rate(0), "180k/min", 3000),
    (Rate(0), "1e3", 1000), (Share(), "5%", 0.05), (Share(), "7%", 0.07), (Share(), ".05", 0.05), (Mark(), "0x10", 16),
    (Count(1), "100k", 100_000), (Count(1), "2M", 2_000_000), (Count(1), "7", 7), (Count(1), "1.005k", 1005),
    (Seconds(0), "5m", 300), (Seconds(0), "300ms", 0.3), (Seconds(0), "2h", 7200), (Seconds(0), "1d", 86_400),
    (Seconds(0), "90", 90), (Seconds(0), " 90s ", 90), (Mark(), "16", 16),
])  # fmt: skip
def test_numbers_take_units(kind, text, number):
    assert kind.convert(text, None, None) == number


@pytest.mark.parametrize(("kind", "text"), [
    (Count(1), "1.5"), (Count(1), "5%"), (Count(1), "k"), (Count(1), "1.0001k"), (Rate(0), "5 apples"),
    (Share(), "200%"), (Share(), "5k"), (Rate(0), "5%"), (Rate(0), "5s"), (Seconds(0), "5k"), (Seconds(0), "5/s"),
    (Rate(0), "nan"), (Rate(0), "1e999"), (Seconds(0), "-1s"), (Count(1), "0x10"), (Mark(), "0x100000000"),
    (Mark(), "1.5"), (Rate(0), "1e9999999"), (Rate(0), "\u0663"),
])  # fmt: skip
def test_other_units_are_wrong_usage(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_every_number_of_every_command_takes_its_unit():
    """A plain number of click is one that has none; what has one says so in the help, which shows an example of it."""
    for command, option in options():
        if isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType)):
            assert isinstance(option.type, Quantity) or option.opts[-1] in BARE, (command, option.opts)


def test_factors_and_scenarios_take_the_same_units(tmp_path):
    (found,) = variants.parse("rate=3k/s,hold=5m,clients=2k,tcp-time-wait=2m,addresses=1,max=1M")
    assert dict(found.factors) == {
        "rate": 3000, "hold": 300, "clients": 2000, "tcp-time-wait": 120, "addresses": 1, "max": 1_000_000
    }  # fmt: skip
    path = tmp_path / "s.toml"
    path.write_text('[workload]\nflows = "72k"\nhold = "exp:1m"\n[[stage]]\nfor = "2m"\nrate = "6k/min"\nto = 200\n')
    work = scenario.load(path).work
    assert (work.flows, work.hold, work.stages) == (72_000, "exp:60.0", ((120, 100, 200),))


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
    for cloud in ("all", "aws-nat-gateway"):
        result = run("plan", "--cloud", cloud, *words)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 1
        assert "aws-nat-gateway" in result.output or "110 addresses" in result.output
