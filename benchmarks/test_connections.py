"""New connections and established packets, by the number of live connections."""

import numpy as np
import pytest
from workloads import BATCH, live, masqueraded

import fastnat

ROUNDS = 2000
LIVE = [10_000, 1_000_000, 16_000_000]


@pytest.fixture(scope="module", params=LIVE, ids=lambda n: f"{n:,} live")
def engine(request):
    return live(request.param, room=ROUNDS * BATCH), request.param


def test_established(engine, timed):
    """Packets of established connections in random order."""
    nat, n = engine
    numbers = np.random.default_rng(1).integers(0, n, (ROUNDS, BATCH))
    parts = [masqueraded(nat, k) for k in numbers]
    out = np.empty(BATCH, fastnat.RESULT)
    timed(f"established packet, {n:,} live", [lambda p=p: nat.process(p, 0.0, out) for p in parts], BATCH)
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
    assert len(nat.conntrack) == n


def test_new(engine, timed):
    """Each packet opens a connection and is masqueraded."""
    nat, n = engine
    parts = masqueraded(nat, np.arange(n, n + ROUNDS * BATCH)).reshape(ROUNDS, BATCH)
    out = np.empty(BATCH, fastnat.RESULT)
    bytes_each = nat.nbytes / len(nat.conntrack)
    calls = [lambda p=p: nat.process(p, 0.0, out) for p in parts]
    timed(f"new connection, {n:,} live", calls, BATCH, bytes_per_connection=bytes_each)
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
    assert len(nat.conntrack) == n + ROUNDS * BATCH


@pytest.mark.parametrize("n", LIVE[:2], ids=lambda n: f"{n:,} live")
def test_expire(n, timed):
    """All connections fall due at once."""
    nat = live(n)
    timed(f"a connection expires, {n:,} live", [lambda: nat.advance(31.0)], n)
    assert len(nat.conntrack) == 0


@pytest.mark.parametrize("prefault", [False, True], ids=["pages on demand", "prefault"])
def test_growth(prefault, timed, capsys):
    """The worst single call of 256 packets while the table grows to 16 million."""
    n = LIVE[-1]
    nat = live(0, room=n, prefault=prefault)
    out = np.empty(BATCH, fastnat.RESULT)

    def calls():
        for start in range(0, n, 100 * BATCH):
            part = masqueraded(nat, np.arange(start, start + 100 * BATCH)).reshape(100, BATCH)
            yield from (lambda p=p: nat.process(p, 0.0, out) for p in part)

    how = "prefault" if prefault else "pages on demand"
    spent = sorted(timed(f"new connection while growing to 16 million, {how}", calls(), BATCH))
    at = {"median": len(spent) // 2, "99.9 %": -(len(spent) // 1000), "worst": -1}
    with capsys.disabled():
        print("one call of 256: " + ", ".join(f"{name} {spent[k] / 1000:,.0f} us" for name, k in at.items()))
    assert len(nat.conntrack) == n
