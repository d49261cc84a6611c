"""Single steps, against values from the field and independent implementations."""

import ipaddress

import numpy as np
import pytest

from fastnat import dtypes
from fastnat.core import _steps


def ip(text):
    return int(ipaddress.IPv4Address(text))


def test_conn_fields_lie_where_the_core_reads_them():
    rng = np.random.default_rng(1)
    row = np.frombuffer(rng.bytes(64), dtypes.CONN).copy()
    seen = _steps.conn_fields(row.view(np.uint8))
    for name, value in seen.items():
        if name == "tuples":
            have = [[t[f] for f in ("src", "dst", "sport", "dport", "proto", "zone")] for t in row[name][0]]
            assert have == value
        else:
            assert np.array_equal(row[name][0], value), name


def test_aes_round_is_that_of_the_instruction():
    """The AESENC example of Intel's white paper on the AES instructions, in memory order."""
    state = bytes.fromhex("7b5b54657374566563746f725d53475d")[::-1]
    key = bytes.fromhex("48692853686179295b477565726f6e5d")[::-1]
    assert _steps.aes_round(state, key)[::-1].hex() == "a8311c2f9fdba3c58b104b58ded7e595"


def test_keyed_hash_is_the_same_with_and_without_aes_instructions():
    rng = np.random.default_rng(3)
    for _ in range(200):
        key = rng.integers(0, 2**64, 10, np.uint64).tolist()
        m0, m1 = rng.integers(0, 2**63, 2, np.uint64).tolist()
        assert len(set(_steps.keyed_hash(key, m0, m1))) == 1


def test_no_key_of_the_tables_comes_again_nor_any_of_its_words():
    """Who has learnt one key, or one word, knows nothing of the next."""
    keys = _steps.next_keys(300)
    assert len({word for key in keys for word in key}) == 300 * len(keys[0]) == 3000


def test_keyed_hash_depends_on_every_bit_of_the_message_and_on_the_key():
    key = list(range(10))
    seen = {_steps.keyed_hash(key, 0, 0)[0], _steps.keyed_hash([1, *key[1:]], 0, 0)[0]}
    for bit in range(64):
        seen.add(_steps.keyed_hash(key, 1 << bit, 0)[0])
        seen.add(_steps.keyed_hash(key, 0, 1 << bit)[0])
    assert len(seen) == 2 + 128 - 1  # bit 0 of the message and of the first key are the same difference


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


TCP, UDP, UDPLITE, SCTP, ICMP, GRE, ESP = 6, 17, 136, 132, 1, 47, 50
SOURCE, DESTINATION = 0, 1


@pytest.mark.parametrize("proto", [TCP, UDP, UDPLITE, SCTP])
def test_ports_of_a_search(proto):
    """The classes of source ports, on both sides of each bound (nf_nat_l4proto_unique_tuple)."""
    for sport, window in (
        (0, (1, 511)), (511, (1, 511)), (512, (600, 424)), (1023, (600, 424)), (1024, (1024, 64512)),
        (65535, (1024, 64512)),
    ):  # fmt: skip
        assert _steps.search_window(proto, sport, SOURCE, None) == window
        # without a range no rule asks for another port of the destination
        assert _steps.search_window(proto, sport, DESTINATION, None) is None
    for manip in (SOURCE, DESTINATION):
        assert _steps.search_window(proto, 5, manip, (2000, 2000)) == (2000, 1)
        assert _steps.search_window(proto, 5, manip, (0, 65535)) == (0, 65536)
        # the kernel takes the ends in either order
        assert _steps.search_window(proto, 5, manip, (2009, 2000)) == (2000, 10)


def test_ids_and_keys_of_a_search():
    for manip in (SOURCE, DESTINATION):
        assert _steps.search_window(ICMP, 7, manip, None) == (0, 65536)
        assert _steps.search_window(ICMP, 7, manip, (30, 39)) == (30, 10)
        # keys of GRE begin at 1
        assert _steps.search_window(GRE, 7, manip, None) == (1, 65535)
        assert _steps.search_window(ESP, 7, manip, (30, 39)) is None


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


def test_random_numbers_are_those_of_splitmix64():
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014; numbers of the seed 1234567."""
    known = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert _steps.table_key(1234567)[:5] == known
