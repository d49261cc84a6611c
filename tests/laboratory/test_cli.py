import csv
import json

import pytest
from click.testing import CliRunner
from nodes import make_dual, make_node
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from fastnat import InputError, capture, nftables
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


def with_sum(datagram):
    """Return an IPv4 datagram with the sum of its header."""
    total = sum(int.from_bytes(datagram[at : at + 2], "big") for at in range(0, 20, 2) if at != 10)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return datagram[:10] + (0xFFFF - total).to_bytes(2, "big") + datagram[12:]


NFT = """table ip nat {
    set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
    chain post { type nat hook postrouting priority srcnat;
        update @seen { ip daddr }
        oifname "eth0" counter masquerade
    }
}
"""


def test_a_node_with_rules_of_nftables_alone(tmp_path):
    node = make_node("")
    node.load_nft(NFT)
    node.save(tmp_path / "node")
    for path in (tmp_path / "node").glob("rules.v*"):
        path.unlink()
    datagram = bytes.fromhex("4500001c000000004011000000000000cb00710afa000035000800000000")
    datagram = datagram[:12] + bytes([10, 244, 1, 2]) + datagram[16:28]
    with (tmp_path / "in.pcapng").open("wb") as f:
        writer = capture.Writer(f)
        for _ in range(3):
            writer.write(0.0, "cni0", with_sum(datagram))
    text, said = tmp_path / "out.nft", tmp_path / "out.json"
    assert run("check", tmp_path / "node").exit_code == 0
    result = run("replay", tmp_path / "node", tmp_path / "in.pcapng", "--nft", text, "--nft-json", said)
    assert result.exit_code == 0, result.output
    assert "counter packets 0 bytes 0" not in text.read_text() and "203.0.113." in text.read_text()
    trees = [nftables.load(path.read_text()) for path in (text, said)]
    assert nftables.json_listing(trees[0]) == nftables.json_listing(trees[1])
    traced = run("trace", tmp_path / "node", "-s", "10.244.1.2", "-d", "203.0.113.9", "-i", "cni0")
    assert traced.exit_code == 0 and 'oifname "eth0" counter packets 0 bytes 0 masquerade' in traced.output
    asked = run("exhaust", tmp_path / "node", "--dst", "203.0.113.10:443", "--proto", "tcp", "--flows", "66000")
    assert asked.exit_code == 0 and "SNAT ports to one destination ran out" in asked.output


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


def test_replay_writes_the_rules_of_each_family_with_their_counters(tmp_path):
    node = make_dual("*filter\n-A FORWARD -p udp\nCOMMIT\n")
    node.load_rules6("*filter\n-A FORWARD -p udp\n-A FORWARD -p tcp\nCOMMIT\n")
    node.save(tmp_path / "node")
    four, six = (ip(src=src, dst=dst) / UDP(sport=1, dport=2) for ip, src, dst in (
        (IP, "10.244.1.2", "203.0.113.10"), (IPv6, "fd00:1::2", "2001:db8:7::1"),
    ))  # fmt: skip
    with (tmp_path / "in.pcapng").open("wb") as f:
        writer = capture.Writer(f)
        for n, data in enumerate([four, six, six]):
            writer.write(float(n), "cni0", bytes(data))
    outs = tmp_path / "v4", tmp_path / "v6"
    result = run("replay", tmp_path / "node", tmp_path / "in.pcapng", "--rules", outs[0], "--rules6", outs[1])
    assert result.exit_code == 0, result.output
    counted = [[line for line in out.read_text().splitlines() if "-A " in line] for out in outs]
    assert counted == [
        ["[1:28] -A FORWARD -p udp"], ["[2:96] -A FORWARD -p udp", "[0:0] -A FORWARD -p tcp"],
    ]  # fmt: skip
    before = outs[1].read_text()
    make_node().save(tmp_path / "plain")
    result = run("replay", tmp_path / "plain", tmp_path / "in.pcapng", "--rules6", outs[1])
    assert (str(result.exception), outs[1].read_text()) == (
        "this node has no IPv6: neither addresses nor rules.v6", before,
    )  # fmt: skip
