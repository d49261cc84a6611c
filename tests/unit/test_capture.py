"""Capture files: written by scapy, read here, and the other way round."""

import io
import struct
import warnings

import pytest

from fastnat import InputError, capture

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import CookedLinux, Dot1Q, Ether
    from scapy.utils import PcapNgReader, wrpcap

PACKET = IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / b"x"


@pytest.mark.parametrize(
    "frame",
    [PACKET, Ether() / PACKET, Ether() / Dot1Q(vlan=3) / PACKET, CookedLinux(proto=0x800) / PACKET],
    ids=["raw", "ethernet", "vlan", "cooked"],
)
def test_every_link_type_gives_the_datagram(tmp_path, frame):
    frame.time = 12.5
    path = tmp_path / "in.pcap"
    wrpcap(str(path), [frame])
    (one,) = capture.read(path)
    assert one.data[: len(PACKET)] == bytes(PACKET)
    assert one.time == pytest.approx(12.5)


def test_written_pcapng_reads_back_and_scapy_agrees(tmp_path):
    path = tmp_path / "out.pcapng"
    with path.open("wb") as f:
        writer = capture.Writer(f)
        writer.write(1.000000001, "eth0", bytes(PACKET))
        writer.write(2.5, "local", bytes(PACKET)[:21])
    ours = list(capture.read(path))
    assert [(c.iface, c.data) for c in ours] == [("eth0", bytes(PACKET)), ("local", bytes(PACKET)[:21])]
    assert ours[0].time == pytest.approx(1.000000001, abs=1e-10)
    with PcapNgReader(str(path)) as reader:
        assert bytes(next(reader)) == bytes(PACKET)


def test_cut_anywhere_is_an_error_that_names_the_byte(tmp_path):
    out = io.BytesIO()
    writer = capture.Writer(out)
    writer.write(1.0, "eth0", bytes(PACKET))
    whole = out.getvalue()
    path = tmp_path / "cut.pcapng"
    ends = {len(whole)}
    at = 0
    while at < len(whole):
        at += struct.unpack_from("<I", whole, at + 4)[0]
        ends.add(at)
    for n in set(range(len(whole))) - ends:
        path.write_bytes(whole[:n])
        with pytest.raises(InputError, match=r"cut\.pcapng"):
            list(capture.read(path))
