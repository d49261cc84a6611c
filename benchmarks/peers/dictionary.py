"""The peer that everybody has: masquerading in a plain Python dict, without rules, states or timeouts."""

from . import NAT, flow


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
        while (dst, NAT, dport, port, proto) in self.table:
            port = 1024 + (port - 1023) % 64_512
        out = (NAT, dst, port, dport, proto)
        self.table[key] = out
        self.table[dst, NAT, dport, port, proto] = (dst, src, dport, sport, proto)
        return out


def flows(start, n):
    return [(src, dst, sport, 53, 17) for src, dst, sport in map(flow, range(start, start + n))]
