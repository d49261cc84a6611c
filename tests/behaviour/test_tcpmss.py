"""TCPMSS: what it writes into segments of every form, beside arithmetic of this file (xt_TCPMSS.c)."""

import random

import numpy as np
import pytest
from nodes import make_node
from scapy.layers.inet import IP, TCP

import fastnat
from fastnat import Reason, Verdict

SET, CLAMP = "--set-mss 1000", "--clamp-mss-to-pmtu"


def engine(how):
    mangle = f"*mangle\n-A FORWARD -p tcp --syn -j TCPMSS {how}\nCOMMIT\n"
    node = make_node(mangle + "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    node.interfaces["eth0"].mtu = 1280
    node.sysctls["net.netfilter.nf_conntrack_checksum"] = "0"
    return fastnat.Engine(node)


def expected(options, data, how):
    """Return the options behind the target: a larger MSS is made smaller, a missing one is added to a header alone."""
    most = 1000 if how == SET else 1280 - 40
    names = [name for name, _ in options]
    if "MSS" in names:
        return [(name, min(value, most) if name == "MSS" else value) for name, value in options]
    if data or 20 + 4 * ((sum({"NOP": 1, "SAckOK": 2, "WScale": 3}[n] for n in names) + 3) // 4) >= 60:
        return options
    # in front of the others; without one the peer counts on 536
    return [("MSS", min(most, 536)), *options]


def written_at_odd(options, wanted):
    """Tell whether the value of an MSS was replaced that begins at an odd byte of the header."""
    sizes = {"NOP": 1, "SAckOK": 2, "WScale": 3}
    names = [name for name, _ in options]
    before = sum(sizes[name] for name in names[: names.index("MSS")]) if "MSS" in names else 0
    return "MSS" in names and options != wanted and before % 2 == 1


@pytest.mark.one_of(3)
@pytest.mark.parametrize("how", [SET, CLAMP])
@pytest.mark.parametrize("seed", range(12))
def test_options_of_every_form(how, seed):
    draw = random.Random(seed)
    nat = engine(how)
    for n in range(12):
        options = draw.sample([("WScale", 7), ("SAckOK", b""), ("NOP", None), ("NOP", None)], draw.randrange(5))
        if draw.random() < 0.6:
            mss = draw.choice([100, 536, 999, 1000, 1001, 1240, 1241, 1460])
            options.insert(draw.randrange(len(options) + 1), ("MSS", mss))
        data = b"x" * draw.choice([0, 0, 5])
        segment = TCP(sport=1000 + n, dport=443, flags="S", seq=1, options=options)
        sent = IP(src="10.244.1.2", dst="203.0.113.9", id=7) / segment
        verdict, out = nat.process_packet(bytes(sent / data), "cni0", float(n))
        assert verdict == Verdict.FORWARD
        got = IP(out)
        wanted = expected(options, data, how)
        end = [o for o in got[TCP].options if o[0] not in ("EOL",)]
        assert [o for o in end if o[0] != "NOP"] == [o for o in wanted if o[0] != "NOP"], (options, data)
        assert bytes(got[TCP].payload) == data
        right = IP(out)
        del right.chksum, right[TCP].chksum
        right = IP(bytes(right))
        if written_at_odd(options, wanted):
            # recorded: the kernel adjusts the checksum as if the value began at an even byte, which makes it wrong
            assert right[TCP].chksum != got[TCP].chksum
            got[TCP].chksum = right[TCP].chksum
        assert bytes(right) == bytes(got)


def test_cut_headers_are_dropped_and_headers_alone_pass():
    nat = engine(SET)
    whole = bytearray(bytes(IP(src="10.244.1.2", dst="203.0.113.9") / TCP(sport=1, dport=443, flags="S", seq=1)))
    whole[20 + 12] = 0xF0
    whole[20 + 13] = 2
    # a header that is longer than the segment: conntrack calls it invalid, the target drops it
    assert nat.process_packet(bytes(whole), "cni0", 0.0) == (Verdict.DROP, None)
    batch = nat.packets(proto="tcp", src="10.244.1.2", sport=2, dst="203.0.113.9", dport=443, iface="cni0", tcp_flags=2)
    assert nat.process(batch)["verdict"][0] == Verdict.FORWARD


def test_a_frame_has_no_room_for_an_option():
    nat = engine(SET)
    data = bytearray(bytes(IP(src="10.244.1.2", dst="203.0.113.9") / TCP(sport=1, dport=443, flags="S", seq=1)))
    out = nat.process_frames(np.frombuffer(data, np.uint8), np.array([0, len(data)]), "cni0", 1.0)
    assert (out["verdict"][0], out["reason"][0]) == (Verdict.DROP, Reason.NO_ROOM)
