"""Listings of iptables itself beside its iptables-save: both must say the same, but for what a listing hides."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from unit.test_rule_files import FOLDER, SETS

from fastnat import iptables
from kernel.test_live import missing

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

# one rule for each thing that listings print in a way of their own
MANY = """*nat
:X - [0:0]
-A PREROUTING -p tcp --syn -m multiport ! --dports 80,443:445 -j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random
-A PREROUTING ! -s 10.0.0.0/8 ! -i eth+ -p udp ! --dport 53 -j REDIRECT --to-ports 3128
-A PREROUTING -m statistic --mode nth --every 3 --packet 1 -g X
-A PREROUTING -p icmp --icmp-type 8 -m limit --limit 3/min -j RETURN
-A PREROUTING -p icmp --icmp-type 3/1 -j RETURN
-A PREROUTING -m iprange --src-range 1.1.1.1-1.1.1.9 -m mark ! --mark 0x1/0xff -j ACCEPT
-A PREROUTING -m conntrack ! --ctstate INVALID -m length --length 20:100 -m ttl --ttl-eq 5 -j X
-A PREROUTING -p tcp -m recent --name foo --rcheck --seconds 10800 --reap --rsource -j DNAT --to-destination 1.2.3.4:80
-A PREROUTING -m recent --name foo --set --rdest -j DNAT --to-destination 1.2.3.4
-A PREROUTING -d 10.1.0.0/16 -j NETMAP --to 10.2.0.0/16
-A PREROUTING -m addrtype --dst-type LOCAL --limit-iface-in -m pkttype --pkt-type unicast -j MARK --set-xmark 0x5/0xf
-A X -m connmark --mark 0x1/0x1 -m physdev ! --physdev-is-bridged -j CONNMARK --save-mark
-A X -j MARK --or-mark 0x4000
-A X -m connlimit --connlimit-upto 5 --connlimit-mask 24 --connlimit-daddr -m connlimit --connlimit-above 2 -j RETURN
-A X -p tcp -m tcpmss ! --mss 5:9 -m ecn --ecn-ip-ect 2 -j RETURN
-A OUTPUT -m owner ! --uid-owner 1337 -m owner --gid-owner 5-9 -m owner ! --socket-exists -j RETURN
-A X -p tcp --tcp-flags SYN,RST SYN -j LOG --log-prefix "hey: "
-A POSTROUTING -p udp -o eth0 -m policy --dir out --pol none -j SNAT --to-source 1.1.1.1-1.1.1.2:100-200 --random-fully
-A POSTROUTING -p udp -o eth0 -j MASQUERADE --to-ports 100-200 --random
-A POSTROUTING -o eth0 -m comment --comment "it's /* odd */" -j MASQUERADE --random-fully
COMMIT
"""
FILES = {path.stem: path.read_text() for path in Path(FOLDER).glob("*.v4")} | {"many": MANY}
MARK = "=== cut ==="


def listed(tool, rules, options):
    """Return what `TOOL-save -t nat` and `TOOL -t nat OPTIONS` print of these rules, in a namespace of their own."""
    script = f"ipset restore <<'E'\n{SETS}E\n{tool}-restore <<'E'\n{rules}E\n"
    script += f"{tool}-save -t nat; echo '{MARK}'; {tool} -t nat {options}"
    done = subprocess.run(["unshare", "-n", "sh", "-ec", script], check=True, capture_output=True, text=True)
    return done.stdout.split(MARK)


def meaning(rule, with_ifaces):
    said = dataclasses.asdict(rule)
    for name in (
        "line",
        "text",
        "packets",
        "bytes",
        *(() if with_ifaces else ("in_iface", "out_iface", "invert_in", "invert_out")),
    ):
        del said[name]
    return said


@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
@pytest.mark.parametrize("name", sorted(FILES.keys() - {"istio"}))
@pytest.mark.parametrize("options", ["-nvL", "-nL", "-nvL --line-numbers", "-nvxL"])
def test_a_listing_says_what_is_saved(tool, name, options):
    if not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    saved, text = listed(tool, FILES[name], options)
    expected, got = iptables.parse(saved), iptables.parse(text)
    (warning,) = got.warnings
    assert ("hides the interfaces" in warning) == ("v" not in options)
    assert got.tables["nat"].chains.keys() == expected.tables["nat"].chains.keys()
    for chain in expected.tables["nat"].chains.values():
        there = got.tables["nat"].chains[chain.name]
        assert there.policy == chain.policy
        assert [meaning(r, "v" in options) for r in there.rules] == [meaning(r, "v" in options) for r in chain.rules]
