"""The headers of a run's flows (exhaustion/headers.pyx) against the same in NumPy, and what belongs to others."""

import numpy as np
import pytest

from fastnat.addresses import FAMILIES
from fastnat.dtypes import Verdict, records_of
from fastnat.exhaustion.headers import Headers
from fastnat.exhaustion.pool import Pool


def drawn(rng, dtype, n):
    """Return records of any bytes."""
    return np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()


def rows(records):
    """Return records as rows of words."""
    return records.view(np.uint64).reshape(len(records), -1)


@pytest.mark.parametrize("seed", range(20))
def test_answers_and_headers_are_those_of_their_slots(seed):
    """An answer goes from the translated destination to the translated source, and headers keep all but their flags."""
    rng = np.random.default_rng(seed)
    records = records_of(FAMILIES[4 + 2 * (seed % 2)])
    n, size = int(rng.integers(0, 60)), int(rng.integers(60, 100))
    batch, out = drawn(rng, records.PACKET, n), drawn(rng, records.RESULT, n)
    out["verdict"] = rng.choice([Verdict.FORWARD, Verdict.DROP, Verdict.LOCAL], n)
    slots = rng.permutation(size)[:n]
    answers, is_open = np.zeros(size, records.PACKET), rng.integers(0, 2, size).astype(np.uint8)
    before, headers = is_open.copy(), Headers(records)
    good = headers.opened(rows(batch), rows(out), slots, rows(answers), is_open)

    fine = out["verdict"] != Verdict.DROP
    assert good.tolist() == slots[fine].tolist()
    before[slots] = fine
    assert is_open.tolist() == before.tolist()
    wanted = np.zeros(size, records.PACKET)
    for name, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport"), ("iface", "out_iface")):
        wanted[name][slots] = out[there]
    for name in ("proto", "length"):
        wanted[name][slots] = batch[name]
    assert answers.tobytes() == wanted.tobytes()

    sent, room = rng.choice(slots, 30) if n else slots, np.zeros(40, records.PACKET)
    flags = int(rng.integers(0, 256))
    headers.gather(rows(answers), sent, flags, rows(room), 10)
    wanted = answers[sent]
    wanted["tcp_flags"] = flags
    assert room[10 : 10 + len(sent)].tobytes() == wanted.tobytes()
    assert not room[:10].view(np.uint8).any() and not room[10 + len(sent) :].view(np.uint8).any()


@pytest.mark.parametrize("version", [4, 6])
def test_what_does_not_belong_together_is_refused(version):
    """A slot that there is not, too little room, and records of the other family are errors, not memory of others."""
    records, other = records_of(FAMILIES[version]), records_of(FAMILIES[10 - version])
    headers, slots = Headers(records), np.arange(3)
    three, is_open = rows(np.zeros(3, records.PACKET)), np.zeros(3, np.uint8)
    out = rows(np.zeros(3, records.RESULT))
    for wrong in (np.array([3]), np.array([-1]), np.array([2**62])):
        with pytest.raises(ValueError, match="there is no slot"):
            headers.gather(three, wrong, 0, three.copy(), 0)
        with pytest.raises(ValueError, match="there is no slot"):
            headers.opened(three[:1], out[:1], wrong, three.copy(), is_open)
    for begin in (1, 4, -1, 2**62):
        with pytest.raises(ValueError, match="no room"):
            headers.gather(three, slots, 0, three.copy(), begin)
    away = rows(np.zeros(3, other.PACKET))
    for given, room in ((away, three), (three, away)):
        with pytest.raises(ValueError, match="no room"):
            headers.gather(given, slots, 0, room, 0)
    for given in (
        (away, out, slots, three, is_open), (three, rows(np.zeros(3, other.RESULT)), slots, three, is_open),
        (three, out, slots, away, is_open), (three[:2], out, slots, three, is_open),
        (three, out[:2], slots, three, is_open), (three, out, slots[:2], three, is_open),
        (three, out, slots, three, is_open[:2]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"another family|for each slot"):
            headers.opened(*given)


def test_slots_are_given_anew_and_the_pool_grows():
    """Headers are found by their slots while others come and go: twenty times some of 5,000 flows."""
    rng = np.random.default_rng(4)
    records = records_of(FAMILIES[4])
    pool, there = Pool(records), {}
    for _ in range(20):
        batch = drawn(rng, records.PACKET, int(rng.integers(1, 900)))
        out = drawn(rng, records.RESULT, len(batch))
        out["verdict"] = rng.choice([Verdict.FORWARD, Verdict.DROP], len(batch))
        slots = pool.take(batch, np.zeros(len(batch)), np.zeros(len(batch)))
        assert not set(slots.tolist()) & there.keys()
        assert pool.opened(slots, batch, out).tolist() == slots[out["verdict"] != Verdict.DROP].tolist()
        there |= {slot: (batch[k], out[k]) for k, slot in enumerate(slots.tolist())}
        gone = rng.permutation(np.array(list(there)))[: int(rng.integers(0, len(there)))]
        pool.give(gone)
        for slot in gone.tolist():
            del there[slot]
        left = np.array(list(there), np.int64)
        both = pool.made((pool.there(left, 7), pool.back(left, 9)))
        for k, slot in enumerate(left.tolist()):
            packet, answer, (sent, got) = both[k], both[len(left) + k], there[slot]
            assert (packet["src"], packet["dport"], packet["tcp_flags"]) == (sent["src"], sent["dport"], 7)
            assert (answer["src"], answer["dport"], answer["tcp_flags"]) == (got["dst"], got["sport"], 9)
