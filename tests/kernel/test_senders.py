"""-m owner and -m time beside the running kernel: who sends a packet, and when."""

import itertools
import re
import sys
import time

import pytest

import fastnat
from kernel import cases, recorder
from kernel.test_live import missing

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]

OWNERS = [
    "--uid-owner 1000", "! --uid-owner 1000", "--uid-owner 0", "--uid-owner 999-1001", "--gid-owner 100",
    "! --gid-owner 100",
    "--uid-owner 1000 --gid-owner 100", "! --uid-owner 1000 --gid-owner 100", "! --uid-owner 1 ! --gid-owner 2",
    "--socket-exists", "! --socket-exists", "--socket-exists ! --uid-owner 0",
]  # fmt: skip
# a rule of the recorder's may drop what the node sends
SEND = """
import contextlib, os, socket, sys
uid, gid = map(int, sys.argv[1:])
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
with contextlib.suppress(PermissionError):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("203.0.113.9", 53))
"""


def counters(text, match):
    return [int(n) for n in re.findall(rf"^\[(\d+):\d+\] -A \S+ .*-m {match} ", text, re.MULTILINE)]


def test_owners_of_local_packets():
    rules = "".join(f"-A OUTPUT -p udp -m udp --dport 53 -m owner {said}\n" for said in OWNERS)
    case = cases.Case(f"*raw\n{rules}COMMIT\n", cases.INTERFACES, cases.ROUTES, None)
    kernel, nat = recorder.Namespace(case), fastnat.Engine(case.node())
    try:
        for n, (uid, gid) in enumerate([(0, 0), (1000, 100), (1000, 5), (5, 100), (1001, 2)]):
            kernel.run(sys.executable, "-c", SEND, str(uid), str(gid))
            nat.uid, nat.gid = uid, gid
            nat.process(nat.packets(proto="udp", src="198.51.100.10", dst="203.0.113.9", dport=53), float(n))
            # behind them stands a rule of the recorder's own
            theirs = counters(kernel.save_rules(), "owner")[: len(OWNERS)]
            assert theirs == counters(nat.save_rules(), "owner"), (uid, gid)
    finally:
        kernel.close()


def test_dates_around_now():
    """Every weekday and monthday, and times of day before, at and behind the present one."""
    hour = time.gmtime().tm_hour
    said = [f"--weekdays {n}" for n in range(1, 8)] + [f"--monthdays {n}" for n in range(1, 32)]
    for first, last in itertools.product([(hour + n) % 24 for n in range(-3, 4)], repeat=2):
        said.append(f"--timestart {first}:00 --timestop {last}:59")
        if first > last:
            said.append(f"{said[-1]} --contiguous --weekdays Mon,Wed,Fri,Sun")
    said += ["--datestart 2020", "--datestop 2020", "! --weekdays Mon,Thu", "! --monthdays 1,10,20,26,30"]
    rules = "".join(f"-A FORWARD -m time {words}\n" for words in said)
    case = cases.Case(f"*mangle\n{rules}COMMIT\n", cases.INTERFACES, cases.ROUTES, None)
    kernel, nat = recorder.Namespace(case), fastnat.Engine(case.node(), epoch=time.time())
    try:
        packet = bytes(next(cases.traffic())[1])
        assert kernel.pass_packet("cni0", packet, wait=0.5)
        nat.process_packet(packet, "cni0")
        assert counters(kernel.save_rules(), "time") == counters(nat.save_rules(), "time")
    finally:
        kernel.close()
