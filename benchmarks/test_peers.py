"""The peer that everybody has: masquerading in a plain Python dict, without rules, states or timeouts."""


class DictNat:
    """Both directions in one dict, ports tried one after the other."""

    def __init__(self):
        self.table = {}

    def packet(self, key):
        known = self.table.get(key)
        if known is not None:
            return known
        src, dst, sport, dport, proto = key
        port = sport
        while (dst, 0xC633640A, dport, port, proto) in self.table:
            port = 1024 + (port - 1023) % 64_512
        out = (0xC633640A, dst, port, dport, proto)
        self.table[key] = out
        self.table[dst, 0xC633640A, dport, port, proto] = (dst, src, dport, sport, proto)
        return out


def flows(start, n):
    return [
        (0x0AF40300 + k % 60_000, 0xCB007100 + k % 60_000, 1024 + k // 60_000, 53, 17) for k in range(start, start + n)
    ]


def test_dict_nat(timed):
    nat = DictNat()
    for key in flows(0, 900_000):
        nat.packet(key)
    fresh = flows(900_000, 100_000)
    timed("Python dict, new connection, 1,000,000 live", [lambda key=key: nat.packet(key) for key in fresh], 1)
    old = flows(0, 100_000)
    assert all(nat.packet(key)[1] == key[1] for key in old)
    assert len(nat.table) == 2_000_000


def test_dict_nat_established(timed):
    nat = DictNat()
    keys = flows(0, 1_000_000)
    for key in keys:
        nat.packet(key)
    import random

    picked = random.Random(1).sample(keys, 100_000)
    timed("Python dict, established packet, 1,000,000 live", [lambda key=key: nat.packet(key) for key in picked], 1)
    assert len(nat.table) == 2_000_000
