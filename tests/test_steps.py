"""Single steps, against values from the field and independent implementations."""

import ipaddress

import numpy as np
import pytest

from fastnat import dtypes
from fastnat.core import _steps


def ip(text):
    return int(ipaddress.IPv4Address(text))


def test_records_have_the_size_that_python_thinks():
    for name, size in _steps.sizes().items():
        assert getattr(dtypes, name).itemsize == size, name


def test_conn_fields_lie_where_the_core_reads_them():
    rng = np.random.default_rng(1)
    row = np.frombuffer(rng.bytes(64), dtypes.CONN).copy()
    seen = _steps.conn_fields(row.view(np.uint8))
    for name, value in seen.items():
        assert np.array_equal(row[name][0], value), name


def test_siphash_stage_equals_scalar():
    one, stage, scalars = _steps.siphash13(0x0706050403020100, 0x0F0E0D0C0B0A0908, 5, 7)
    assert stage == scalars
    assert stage[0] == one
    assert len(set(stage)) == 32


@pytest.mark.parametrize(
    ("word", "iv", "value"), [(0, 0, 0xBAF9078C), (0x0200010A, 0x0200020A, 0x67C23673), (0x0200010A, 0, 0x217C6D4B)]
)
def test_jhash2(word, iv, value):
    assert _steps.jhash2(word, iv) == value


@pytest.mark.parametrize(
    ("dst", "flags", "last"), [("10.2.0.2", 0, 103), ("10.2.0.3", 0, 194), ("10.2.0.4", 0, 52), ("10.2.0.9", 8, 35)]
)
def test_choose_address(dst, flags, last):
    """-j SNAT --to-source 10.77.0.3-10.77.0.250 [--persistent], recorded on 6.18."""
    chosen = _steps.choose_address(ip("10.1.0.2"), ip(dst), ip("10.77.0.3"), ip("10.77.0.250"), flags, 0, 0)
    assert chosen == ip(f"10.77.0.{last}")


def test_invert_udp_and_icmp():
    assert _steps.invert(1, 2, 3, 4, 17) == (2, 1, 4, 3)
    assert _steps.invert(1, 2, 77, 8 << 8, 1) == (2, 1, 77, 0)
    assert _steps.invert(1, 2, 77, 13 << 8, 1) == (2, 1, 77, 14 << 8)


def test_incremental_checksum_equals_recomputation():
    rng = np.random.default_rng(2)
    for _ in range(500):
        data = bytearray(rng.bytes(20))
        old = int.from_bytes(data[4:8], "big")
        before = _steps.checksum(bytes(data))
        data[4:8] = rng.bytes(4)
        after = _steps.replace4(before, old, int.from_bytes(data[4:8], "big"))
        assert after == _steps.checksum(bytes(data))


def test_tcp_state_table_handshake_and_close():
    syn, synack, fin, ack, rst = range(5)
    path = [(0, syn, 1), (1, synack, 2), (0, ack, 3), (0, fin, 4), (1, ack, 5), (1, fin, 6), (0, ack, 7)]
    state = 0
    for direction, class_, expected in path:
        state = _steps.tcp_next(direction, class_, state)
        assert state == expected
    assert _steps.tcp_next(0, synack, 0) == 10
    assert _steps.tcp_next(1, rst, 3) == 8


@pytest.mark.parametrize(
    ("flags", "valid"),
    [(0x02, True), (0x12, True), (0x10, True), (0x18, True), (0x00, False), (0x01, False), (0x29, False)],
)
def test_tcp_flags(flags, valid):
    assert _steps.tcp_flags(flags)[0] is valid
