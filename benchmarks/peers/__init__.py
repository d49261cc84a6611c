"""The same work elsewhere: the Linux kernel, a plain Python dict, NumPy arrays. `make peers` prints one table.

Workload: UDP headers, every flow with a source and a destination of its own, masqueraded to 198.51.100.10; then packets
of flows that exist, in random order; then new flows to one destination to which 72,000 went before, for 64,512 ports.
"""

NAT = 0xC633640A


def flow(k):
    """Return flow number k: source, destination, source port."""
    return 0x0AF40300 + k % 60_000, 0xCB007100 + k % 60_000, 1024 + k // 60_000
