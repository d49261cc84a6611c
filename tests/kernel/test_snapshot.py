"""`fastnat snapshot` inside a namespace: what it collects is the node that is there."""

import sys
from pathlib import Path

import pytest

import fastnat
from fastnat.addresses import to_text
from kernel import cases, recorder
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel
RULES = "*nat\n-A POSTROUTING -s 10.244.0.0/16 -m set --match-set CLIENTS src -j MASQUERADE --random-fully\nCOMMIT\n"


def state(kernel):
    """Return what reading must not change: rules without the date in their comments, sysctls."""
    rules = [line for line in kernel.save_rules().splitlines() if not line.startswith("#")]
    return rules, kernel.run("sysctl", "-a", "-r", "net.netfilter|ip_forward"), kernel.run("ip", "addr")


def test_a_namespace_is_collected_and_decides_as_it_does(tmp_path):
    case = cases.Case(RULES, cases.INTERFACES, cases.ROUTES, None, sets=cases.SETS)
    kernel = recorder.Namespace(case)
    try:
        kernel.run("sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=7")
        own = "table inet own { chain c { type filter hook forward priority 5; udp dport 99 drop\n}\n}\n"
        kernel.run("nft", "-f", "-", text=own)
        before = state(kernel)
        command = Path(sys.executable).with_name("fastnat")
        said = kernel.run(str(command), "snapshot", "-o", str(tmp_path / "node"), "--conntrack")
        assert state(kernel) == before
    finally:
        kernel.close()
    assert "rules.v4" in said
    node = fastnat.Node.load(tmp_path / "node", with_conntrack=True)
    assert {a for i in node.interfaces.values() for a in (to_text(x.local) for x in i.addresses)} >= {
        "10.244.1.1", "198.51.100.10",
    }  # fmt: skip
    assert node.sysctl("net.netfilter.nf_conntrack_udp_timeout", 0) == 7
    assert node.sysctl("net.ipv4.ip_forward", 0) == 1
    assert "CLIENTS" in node.sets
    assert not [key for key in node.sysctls if not key.startswith(("net.netfilter.nf_conntrack", "net.ip"))]
    nat = fastnat.Engine(node)
    inside, outside = nat.process(
        nat.packets(proto="udp", src=["10.244.1.3", "10.244.1.4"], dst="203.0.113.9", sport=5, dport=53, iface="cni0")
    )
    assert to_text(int(inside["src"])) == "198.51.100.10"
    assert to_text(int(outside["src"])) == "10.244.1.4"
    by_nftables = nat.packets(proto="udp", src="10.244.1.3", dst="203.0.113.9", sport=5, dport=99, iface="cni0")
    assert nat.process(by_nftables)["verdict"][0] == fastnat.Verdict.DROP


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    kernel = recorder.Namespace(cases.Case(RULES, cases.INTERFACES, cases.ROUTES, None, sets=cases.SETS))
    try:
        command = Path(sys.executable).with_name("fastnat")
        with pytest.raises(RuntimeError, match="not empty; give a new directory"):
            kernel.run(str(command), "snapshot", "-o", str(tmp_path))
    finally:
        kernel.close()
    assert [p.name for p in tmp_path.iterdir()] == ["notes"]
