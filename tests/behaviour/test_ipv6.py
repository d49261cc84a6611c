"""IPv6 through the same steps, compiled over 128-bit addresses; bytes judged by scapy."""

import ipaddress
import warnings

import numpy as np
import pytest

import fastnat
from fastnat import Reason, Verdict
from fastnat.addresses import V6

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import TCP, UDP
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6EchoReply,
        ICMPv6EchoRequest,
        ICMPv6ND_NS,
        ICMPv6ND_Redirect,
        ICMPv6NDOptRedirectedHdr,
        IPv6,
        IPv6ExtHdrDestOpt,
        IPv6ExtHdrFragment,
    )

MASQUERADE = "*nat\n-A POSTROUTING -s fd01::/64 -o eth0 -j MASQUERADE\nCOMMIT\n"


def make_node(rules=MASQUERADE):
    node = fastnat.Node()
    node.add_interface("cni0", ["fd01::1/64"])
    node.add_interface("eth0", ["fd02::1/64", "fd02::aaaa/64"])
    node.add_route("default", via="fd02::ffff", dev="eth0")
    node.load_rules6(rules)
    return node


def through(nat, packet, iface="cni0"):
    verdict, data = nat.process_packet(bytes(packet), iface)
    return verdict, IPv6(data) if data else None


LAYERS = {
    "udp": UDP(sport=4000, dport=53),
    "tcp": TCP(sport=4000, dport=80, flags="S"),
    "echo": ICMPv6EchoRequest(id=77),
}


@pytest.mark.parametrize("options", [False, True], ids=["plain", "destination options"])
@pytest.mark.parametrize("name", LAYERS)
def test_rewritten_packet_equals_scapys(name, options):
    """On a full tie the address added last is the source (ipv6_dev_get_saddr)."""
    extension = IPv6ExtHdrDestOpt() if options else None
    chain = (extension / LAYERS[name] if options else LAYERS[name]) / b"payload"
    verdict, data = fastnat.Engine(make_node()).process_packet(
        bytes(IPv6(src="fd01::2", dst="fd03::9") / chain), "cni0"
    )
    assert verdict == Verdict.FORWARD
    assert data == bytes(IPv6(src="fd02::aaaa", dst="fd03::9", hlim=63) / chain)


def test_echo_reply_and_error_find_their_way_back():
    nat = fastnat.Engine(make_node())
    _, out = through(nat, IPv6(src="fd01::2", dst="fd03::9") / ICMPv6EchoRequest(id=7))
    _, back = through(nat, IPv6(src="fd03::9", dst=out.src) / ICMPv6EchoReply(id=out[ICMPv6EchoRequest].id), "eth0")
    assert (back.dst, back[ICMPv6EchoReply].id) == ("fd01::2", 7)
    _, sent = through(nat, IPv6(src="fd01::2", dst="fd03::9") / UDP(sport=5000, dport=9) / b"x")
    _, error = through(nat, IPv6(src="fd02::ffff", dst=sent.src) / ICMPv6DestUnreach() / sent, "eth0")
    expected = IPv6(src="fd02::ffff", dst="fd01::2", hlim=63) / ICMPv6DestUnreach()
    quoted = IPv6(src="fd01::2", dst="fd03::9", hlim=63) / UDP(sport=5000, dport=9) / b"x"
    assert bytes(error) == bytes(expected / quoted)


@pytest.mark.parametrize("name", LAYERS)
def test_cut_anywhere_never_crashes(name):
    whole = bytes(IPv6(src="fd01::2", dst="fd03::9") / IPv6ExtHdrDestOpt() / LAYERS[name] / b"payload")
    nat = fastnat.Engine(make_node())
    for n in range(len(whole)):
        assert nat.process_packet(whole[:n], "cni0")[0] == Verdict.DROP
        short = bytearray(whole[:n])
        if n >= 40:
            short[4:6] = (n - 40).to_bytes(2, "big")
            nat.process_packet(bytes(short), "cni0")
    nat.stacks[6].core.check_invariants()


def test_address_range_is_the_kernels_choice():
    """Recorded: fd77::10-fd77::ff gives fd01::2 towards fd02::2 the address fd77::7f."""
    rules = "*nat\n-A POSTROUTING -j SNAT --to-source fd77::10-fd77::ff\nCOMMIT\n"
    _, out = through(fastnat.Engine(make_node(rules)), IPv6(src="fd01::2", dst="fd02::2") / UDP(sport=1, dport=2))
    assert out.src == "fd77::7f"


def test_dnat_with_brackets_and_a_clash():
    rules = "*nat\n-A PREROUTING -d fd02::1/128 -p udp --dport 53 -j DNAT --to-destination [fd01::5]:5353\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules))
    _, out = through(nat, IPv6(src="fd03::9", dst="fd02::1") / UDP(sport=4000, dport=53), "eth0")
    assert (out.dst, out[UDP].dport) == ("fd01::5", 5353)


def test_header_batches_and_inspection():
    nat = fastnat.Engine(make_node(), seed=2)
    src = [ipaddress.IPv6Address("fd01::100") + k for k in range(500)]
    batch = nat.packets(proto="udp", src=src, sport=4000, dst="fd03::9", dport=53, iface="cni0")
    out = nat.process(batch)
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert len(np.unique(out["sport"])) == 500
    assert len(nat.conntrack) == 500
    assert nat.ports("fd02::aaaa", "udp", "fd03::9", 53)["used"] == 500
    text = nat.conntrack.format("proc").splitlines()[0]
    assert text.startswith("ipv6     10 udp      17 30 src=fd01:0000:0000:0000:0000:0000:0000:0100 ")
    found = nat.conntrack.find("udp", "fd01::100", 4000, "fd03::9", 53)
    assert V6.to_text(found.reply[1]) == "fd02::aaaa"
    nat.conntrack.delete(found)
    nat.stacks[6].core.check_invariants()
    nat.advance(31.0)
    assert len(nat.conntrack) == 0


def test_neighbour_discovery_is_untracked_and_fragments_have_a_reason():
    nat = fastnat.Engine(make_node())
    through(nat, IPv6(src="fd01::2", dst="fd03::9", hlim=255) / ICMPv6ND_NS(tgt="fd03::9"))
    assert len(nat.conntrack) == 0
    assert nat.stats["invalid"] == 0
    fragment = IPv6(src="fd01::2", dst="fd03::9") / IPv6ExtHdrFragment(offset=0, m=1) / UDP(sport=1, dport=2)
    assert nat.run(bytes(fragment), 2, 0.0)[4] == Reason.FRAGMENT


def test_a_node_without_ipv6_says_so(tmp_path):
    nat = fastnat.Engine(fastnat.Node.example())
    with pytest.raises(fastnat.InputError, match="no IPv6"):
        nat.process(nat.packets(proto="udp", src="fd01::2", dst="fd03::9", iface="cni0"))
    make_node().save(tmp_path)
    assert fastnat.Node.load(tmp_path).rules6_text == MASQUERADE
    with pytest.raises(fastnat.RuleError, match="is not an IPv6 address"):
        make_node("*nat\n-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE\nCOMMIT\n")


OF_REDIRECTS = [("linux-5.4", Reason.INVALID), ("linux-6.18", Reason.ICMP_TRANSLATION)]


@pytest.mark.parametrize(("profile", "reason"), OF_REDIRECTS)
def test_redirects_of_icmpv6(profile, reason):
    """Of a translated flow they are dropped; linux-5.4 does not know them as errors."""
    nat = fastnat.Engine(make_node(), profile)
    _, sent = through(nat, IPv6(src="fd01::2", dst="fd03::9") / LAYERS["udp"])
    quoted = ICMPv6NDOptRedirectedHdr(pkt=bytes(sent))
    redirect = ICMPv6ND_Redirect(tgt="fe80::2", dst="fd03::9") / quoted
    packet = IPv6(src="fe80::1", dst="fd02::aaaa", hlim=255) / redirect
    assert nat.run(bytes(packet), nat.node.iface_number("eth0"), 0.0)[4] == reason


@pytest.mark.parametrize(("profile", "reason"), [("linux-5.4", Reason.INVALID), ("linux-6.18", Reason.UNTRACKED)])
def test_multicast_router_discovery(profile, reason):
    nat = fastnat.Engine(make_node(), profile)
    packet = IPv6(src="fd02::5", dst="fd02::1") / ICMPv6EchoRequest(type=152)
    assert nat.run(bytes(packet), nat.node.iface_number("eth0"), 0.0)[4] == reason


@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_redirect_address(profile):
    """Addresses of a device stand by their scope, the widest first; where there is none of it, another will do."""
    node = fastnat.Node()
    node.add_interface("cni0", [])
    node.load_rules6("*nat\n-A PREROUTING -p udp -j REDIRECT --to-ports 5353\nCOMMIT\n")
    for address, wanted in (("fe80::1/64", "fe80::1"), ("fd01::1/64", "fd01::1"), ("fe80::2/64", "fd01::1")):
        node.add_address("cni0", address, scope="link" if address.startswith("fe") else "global")
        _, out = through(fastnat.Engine(node, profile), IPv6(src="fd01::2", dst="fd03::9") / LAYERS["udp"])
        assert (out.dst, out[UDP].dport) == (wanted, 5353)


def test_redirect_of_an_address_of_another_kind():
    """An embedded IPv4 address has a kind of its own, of which the device has no address: the packet is dropped."""
    node = make_node("*nat\n-A PREROUTING -p udp -j REDIRECT --to-ports 5353\nCOMMIT\n")
    packet = bytes(IPv6(src="fd01::2", dst="::5") / LAYERS["udp"])
    assert fastnat.Engine(node).process_packet(packet, "cni0")[0] == fastnat.Verdict.DROP


def test_one_maximum_for_both_families():
    """nf_conntrack_max counts connections of both; what expires in one makes room in the other."""
    node = make_node()
    node.add_address("cni0", "10.244.1.1/24")
    node.add_address("eth0", "198.51.100.10/24")
    node.load_rules("*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n")
    nat = fastnat.Engine(node, max_connections=10)
    fields = {"proto": "udp", "sport": np.arange(6) + 1, "dport": 53, "iface": "cni0"}
    four = nat.packets(src="10.244.1.2", dst="198.51.100.77", **fields)
    six = nat.packets(src="fd01::2", dst="fd02::77", **fields)
    assert (nat.process(four)["verdict"] == Verdict.FORWARD).sum() == 6
    # an unreplied connection makes room for the seventh and further ones only in its own family
    assert (nat.process(six)["reason"] == Reason.TABLE_FULL).sum() + nat.stats["early_drop"] >= 2
    assert len(nat.conntrack) <= 10
    assert (nat.process(six, now=31.0)["verdict"] == Verdict.FORWARD).sum() == 6


def test_a_set_of_the_other_family_is_refused_as_iptables_refuses_it():
    node = make_node("*nat\n-A POSTROUTING -m set --match-set FOUR src -j MASQUERADE\nCOMMIT\n")
    node.load_sets("create FOUR hash:ip family inet\nadd FOUR 10.0.0.1\n")
    with pytest.raises(fastnat.RuleError, match="The protocol family of set FOUR is not IPv6"):
        fastnat.Engine(node)


def test_losing_an_address_deletes_what_was_masqueraded_with_it():
    node = make_node()
    nat = fastnat.Engine(node)
    batch = nat.packets(proto="udp", src="fd01::2", sport=np.arange(3) + 1, dst="fd03::9", dport=53, iface="cni0")
    nat.process(batch)
    node.remove_address("eth0", "fd02::1")
    nat.reload()
    assert len(nat.conntrack) == 3
    node.remove_address("eth0", "fd02::aaaa")
    nat.reload()
    assert len(nat.conntrack) == 0
    assert (nat.process(batch)["reason"] == Reason.NO_ADDRESS).sum() + len(nat.conntrack) == 3
