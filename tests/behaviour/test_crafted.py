"""Who knows the key of the tables: crowds of flows in one bucket, in every form of batch and both families.

The tables then draw another key. But for the key nothing differs from an engine whose key nobody knows.
"""

from itertools import pairwise

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES, MASQUERADE, SERVER, router
from fuzz import programs

import fastnat
from fastnat import Verdict
from fastnat.core import _steps
from fastnat.dtypes import RECORDS6
from fastnat.engine.stack import SALT

# --- the hash turned round: of AES, rows are the bytes of a state


def products(factor):
    """Return a table of products in GF(2^8), FIPS 197, 4.2."""
    found = np.zeros(256, np.uint8)
    for x in range(256):
        value, power, left = 0, x, factor
        while left:
            value ^= power if left & 1 else 0
            power = power << 1 ^ (0x11B if power & 0x80 else 0)
            left >>= 1
        found[x] = value
    return found


BACK = [products(n) for n in (14, 11, 13, 9)]
# SubBytes alone: a state of equal bytes is the same behind ShiftRows and MixColumns
SUBSTITUTED = np.array([_steps.aes_round(bytes([x] * 16), bytes(16))[0] for x in range(256)], np.uint8)
UNSUBSTITUTED = np.argsort(SUBSTITUTED).astype(np.uint8)
SHIFTED = np.array([(i + 4 * (i & 3)) & 15 for i in range(16)])


def rounds_back(states, keys):
    """Return what four rounds have made states of."""
    for key in reversed(keys[1:]):
        columns = (states ^ key).reshape(-1, 4, 4)
        mixed = np.zeros_like(columns)
        for row in range(4):
            for n, table in enumerate(BACK):
                mixed[:, :, row] ^= table[columns[:, :, (row + n) & 3]]
        states = np.empty_like(states)
        states[:, SHIFTED] = UNSUBSTITUTED[mixed.reshape(-1, 16)]
    return states


def rounds(states, keys):
    """Return states behind four rounds."""
    return np.array([
        np.frombuffer(run, np.uint8) for run in (four_rounds(bytes(state), keys) for state in states)
    ])  # fmt: skip


def four_rounds(state, keys):
    for key in keys[1:]:
        state = _steps.aes_round(state, bytes(key))
    return state


def blocks(*columns):
    """Return states of pairs of 64-bit words."""
    return np.stack(columns, axis=1).astype("<u8").view(np.uint8)


def crafted(nat, n, key=0, bits=11):
    """Return n headers whose original tuples have one tag and, under this key, one bucket of 2**bits."""
    found, words, first = [], _steps.table_key(key), 0
    wanted = None
    while sum(map(len, found)) < n:
        k = np.arange(first, first + 2_000_000, dtype=np.uint64)
        fields = {"src": (0x0A010002 + k % 60_000).astype(np.uint32), "sport": (1024 + k // 60_000).astype(np.uint16)}
        batch = nat.packets(proto="udp", dst="203.0.113.1", dport=53, iface="r0", **fields)
        hashes = np.zeros(len(batch), np.uint64)
        _steps.packet_hashes(words, batch.view(np.uint8), hashes)
        place = hashes & np.uint64((1 << bits) - 1) | (hashes >> np.uint64(60)) << np.uint64(bits)
        wanted = place[0] if wanted is None else wanted
        found.append(batch[place == wanted])
        first += 2_000_000
    return np.concatenate(found)[:n]


def crafted6(nat, n, key=0, bits=11):
    """Return n headers of IPv6 as crafted() does of IPv4: to one server each, whose address follows from the hash."""
    rng = np.random.default_rng(n)
    words = _steps.table_key(key ^ SALT[6])
    keys = np.array(words, "<u8").view(np.uint8).reshape(5, 16)
    hashes = (rng.integers(0, 2**60, 2 * n, np.uint64) >> np.uint64(bits) << np.uint64(bits)) | np.uint64(5)
    src = np.full(2 * n, 0xFD01 << 48, np.uint64), rng.integers(2**62, 2**63, 2 * n, np.uint64)
    rest = np.full(2 * n, 4000 | 53 << 16 | 17 << 32, np.uint64)
    # from behind: the last block has ports and protocol, that in front of it the destination
    end = rounds_back(blocks(hashes, rng.integers(0, 2**63, 2 * n, np.uint64)), keys)
    before = rounds_back(end ^ blocks(rest, np.zeros(2 * n, np.uint64)), keys)
    begin = rounds(blocks(src[1], src[0]) ^ keys[0], keys)
    dst = (before ^ begin).view("<u8")
    batch = nat.packets(proto="udp", src="fd01::2", sport=np.full(2 * n, 4000), dst=SERVER[6], dport=53, iface="r0")
    for name, high, low in (("src", *src), ("dst", dst[:, 1], dst[:, 0])):
        ends = np.zeros(2 * n, RECORDS6.ADDR)
        ends["high"], ends["low"] = high, low
        batch[name] = ends
    # the others are no servers: groups, the link, and what begins with zeros
    return batch[~np.isin(dst[:, 1] >> np.uint64(56), (0, 0xFE, 0xFF, 0xFD))][:n]


@pytest.fixture(scope="module")
def crowd():
    """Crowds of both families: made once, those of IPv4 by trying."""
    nat = fastnat.Engine(router(4))
    return {4: crafted(nat, 600), 6: crafted6(nat, 600)}


def engine(family, key, **named):
    return fastnat.Engine(router(family, MASQUERADE.format("")), key=key, max_connections=100_000, **named)


def in_bytes(nat, batch, family):
    """Run packets as datagrams, one at a time."""
    buffer, offsets = programs.raw_of(np.random.default_rng(1), batch)
    return [nat.process_packet(buffer[a:b].tobytes(), "r0", 1.0) for a, b in pairwise(offsets)]


def in_frames(nat, batch, family):
    buffer, offsets = programs.raw_of(np.random.default_rng(1), batch)
    out = nat.stacks[family].core.process_frames(buffer, offsets, batch["iface"].copy(), 1.0)
    return out.tobytes(), buffer.tobytes()


def one_by_one(nat, batch, family):
    return np.concatenate([nat.process(row, 1.0) for row in np.split(batch, len(batch))])


FORMS = {
    "whole": lambda nat, batch, family: nat.process(batch, 1.0),
    "with times": lambda nat, batch, family: nat.process(batch, np.linspace(nat.now + 1, nat.now + 2, len(batch))),
    "a race": lambda nat, batch, family: nat.process(batch, 1.0, cpus=100),
    "a small race": lambda nat, batch, family: nat.process(batch, 1.0, cpus=3),
    "one by one": one_by_one,
    "datagrams": in_bytes,
    "frames": in_frames,
}  # fmt: skip


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "more",
    [{}, *(pytest.param(m, marks=pytest.mark.slow) for m in ({"remember": False}, {"profile": "linux-5.4"}))],
    ids=str,
)
def test_another_key_changes_no_answer(family, form, more, crowd):
    said, state = [], []
    # twice: the second time all are established
    for key in (0, 12345):
        nat = engine(family, key, **more)
        said.append([FORMS[form](nat, crowd[family][:300], family) for _ in range(2)])
        nat.check()
        state.append((nat.conntrack.format("proc"), nat.stats))
        assert (nat.stacks[family].core.tables["rehashes"] > 0) == (key == 0)
    for one, other in zip(*said, strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other
    assert state[0] == state[1]
    assert state[0][1]["new"] > 250


@FAMILIES
def test_loaded_and_restored(family, crowd, tmp_path):
    """conntrack -I of a crowd, and an engine that was saved with one."""
    secret = engine(family, 12345)
    secret.process(crowd[family][:300])
    text = secret.conntrack.format("extended")
    loaded = engine(family, 0)
    assert loaded.conntrack.load(text) == 300
    crowded = engine(family, 0)
    crowded.process(crowd[family][:300])
    crowded.save(tmp_path / "state")
    restored = fastnat.Engine.restore(tmp_path / "state")
    for nat in (loaded, crowded, restored, crowded.fork()):
        assert nat.stacks[family].core.tables["rehashes"] > 0
        assert sorted(nat.conntrack.format("extended").splitlines()) == sorted(text.splitlines())
        nat.check()
        # all are there, and found
        nat.process(crowd[family][:300], nat.now)
        assert len(nat.conntrack) == 300


@FAMILIES
@pytest.mark.parametrize("n", [20, 80, 300])
@pytest.mark.parametrize("remember", [True, False])
def test_who_has_left_home_is_counted(family, n, remember, crowd):
    """Before a table has grown, and after its key has changed, the counter is what lies elsewhere than at home."""
    nat = engine(family, 0, remember=remember)
    core, before = nat.stacks[family].core, 0
    for part in np.array_split(crowd[family][:n], 12):
        nat.process(part)
        buckets, tables = core.arrays["tuples"], core.tables
        displaced = int(((buckets["items"] >> 31 == 1) & (buckets["tags"] != 0)).sum())
        if tables["tuple_groups"] == 1:
            assert tables["tuple_overflows"] == displaced
        before = max(before, displaced)
    assert before > 0 or n < 80
    assert tables["rehashes"] > 0 or n < 300


@FAMILIES
@pytest.mark.parametrize("timed", [False, True])
def test_shards(family, timed, crowd):
    """Each shard goes on behind the packet in which its key changed, with none left out and none run twice."""
    batch = np.concatenate([crowd[family][:300], crowd[family][:300][::-1]])
    now = np.linspace(1.0, 2.0, len(batch)) if timed else 1.0
    group = fastnat.EngineGroup(router(family, MASQUERADE.format("")), ["r0"], shards=2, seed=3)
    out, shard = group.process(batch, now), group.shard_of(batch)
    for k, nat in enumerate(group.engines):
        twin = fastnat.EngineGroup(router(family, MASQUERADE.format("")), ["r0"], shards=2, seed=3)
        mine = shard == k
        np.testing.assert_array_equal(twin.engines[k].process(batch[mine], now[mine] if timed else now), out[mine])
        twin.close()
        assert nat.stacks[family].core.tables["rehashes"] > 0
        nat.check()
    assert group.stats["new"] == len(group) == 300
    group.close()


@FAMILIES
@pytest.mark.parametrize("translated", [True, False])
def test_who_knows_the_key_cannot_fill_the_table(family, translated, crowd):
    """More flows than a group has slots, all in one bucket: all are opened, and the table does not grow for them."""
    node = router(family, MASQUERADE.format("" if translated else "--random-fully -p tcp"))
    nat = fastnat.Engine(node, max_connections=262_144)
    out = nat.process(crowd[family])
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert len(nat.conntrack) == 600
    nat.check()
    tables = nat.stacks[family].core.tables
    assert tables["rehashes"] >= 1 and tables["tuple_groups"] < 50
    assert (nat.process(crowd[family])["conn"] == out["conn"]).all()
    # with the key unknown the same flows are like any others
    other = fastnat.Engine(node, key=12345, max_connections=262_144)
    assert (other.process(crowd[family]) == out).all()
    assert other.stacks[family].core.tables["rehashes"] == 0
