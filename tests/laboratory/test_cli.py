import csv
import json

import pytest
from click.testing import CliRunner

from fastnat import InputError, capture
from fastnat.cli import group


def run(*args):
    return CliRunner().invoke(group, [str(a) for a in args])


def test_exhaust_follows_the_curve(tmp_path):
    path = tmp_path / "curve.csv"
    result = run("exhaust", "--csv", path)
    assert result.exit_code == 0, result.output
    assert "SNAT ports to one destination ran out" in result.output
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 72
    assert all(float(r["fail"]) == 0 for r in rows[:45])
    assert 0.20 < float(rows[63]["fail"]) < 0.33
    assert float(rows[71]["fail"]) == 1


def test_exhaust_json():
    result = run("exhaust", "--flows", 2000, "--json", "-")
    doc = json.loads(result.output)
    assert (doc["format"], doc["runs"][0]["failed"]) == (1, 0)


def test_check_and_replay(tmp_path):
    from fastnat import Node

    Node.example().save(tmp_path / "node")
    assert "fine" in run("check", tmp_path / "node").output
    with (tmp_path / "in.pcapng").open("wb") as f:
        capture.Writer(f).write(0.0, "cni0", b"\x45" + bytes(19))
    result = run("replay", tmp_path / "node", tmp_path / "in.pcapng", "--verdicts", tmp_path / "v.jsonl")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "v.jsonl").read_text())["reason"] == "ip_header"


@pytest.mark.parametrize(
    "content", [b"", b"junk", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a\xff\xff\xff\xff\x4d\x3c\x2b\x1a"]
)
def test_broken_captures_name_the_file(tmp_path, content):
    path = tmp_path / "broken.pcap"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.pcap"):
        list(capture.read(path))


def test_missing_node_directory():
    assert isinstance(run("check", "/nowhere").exception, InputError)


def test_exhaust_starts_from_a_dump(tmp_path):
    """A node whose ports towards the destination are half gone already fails earlier."""
    line = (
        "udp 17 29 src=10.244.9.9 dst=203.0.113.10 sport={0} dport=53 [UNREPLIED] "
        "src=203.0.113.10 dst=198.51.100.10 sport=53 dport={0} mark=0 use=1\n"
    )
    (tmp_path / "dump.txt").write_text("".join(line.format(port) for port in range(1024, 65536, 2)))
    fresh = json.loads(run("exhaust", "--flows", 33_000, "--json", "-").output)["runs"][0]
    started = run("exhaust", "--flows", 33_000, "--json", "-", "--start-from", tmp_path / "dump.txt")
    later = json.loads(started.output)["runs"][0]
    assert fresh["first_failure"] is None
    assert 20_000 < later["first_failure"] < 32_000
