"""The peer that everybody has: masquerading in a plain Python dict, without rules, states or timeouts."""

from . import KINDS, NAT, flow


class DictNat:
    """Both directions in one dict, ports tried one after the other."""

    def __init__(self, nat=NAT):
        self.nat, self.table = nat, {}

    def packet(self, key):
        known = self.table.get(key)
        if known is not None:
            return known
        src, dst, sport, dport, proto = key
        port, nat = sport, self.nat
        while (dst, nat, dport, port, proto) in self.table:
            port = 1024 + (port - 1023) % 64_512
        out = (nat, dst, port, dport, proto)
        self.table[key] = out
        self.table[dst, nat, dport, port, proto] = (dst, src, dport, sport, proto)
        return out


def flows(start, n, kind=KINDS["UDP"]):
    return [(src, dst, sport, 53, 17) for src, dst, sport in (flow(k, kind) for k in range(start, start + n))]
