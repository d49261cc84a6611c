"""Records as rows of words (util/records.py) against NumPy's own way, field by field."""

import numpy as np
import pytest

from fastnat.addresses import FAMILIES
from fastnat.dtypes import records_of
from fastnat.util.records import parts, picked, put, rows_of


def drawn(rng, dtype, n):
    """Return records of any bytes."""
    return np.frombuffer(rng.bytes(n * dtype.itemsize), dtype).copy()


@pytest.mark.parametrize("seed", range(12))
def test_records_are_gathered_and_scattered_as_numpy_does(seed):
    """By numbers, which may come twice, and by a mask; also of no record at all."""
    rng = np.random.default_rng(seed)
    records = records_of(FAMILIES[4 + 2 * (seed % 2)])
    for dtype in (records.PACKET, records.RESULT, records.CONN):
        n = int(rng.integers(0, 40))
        some, mask = drawn(rng, dtype, n), rng.integers(0, 2, n).astype(np.bool_)
        at = rng.integers(0, n, int(rng.integers(0, 60))) if n else np.zeros(0, np.int64)
        for which in (at, mask):
            assert picked(some, which).tobytes() == some[which].tobytes()
            assert picked(some, which).dtype == dtype
        order, mine, theirs = rng.permutation(n)[: n // 2], some.copy(), some.copy()
        values = drawn(rng, dtype, len(order))
        put(mine, order, values)
        # names that pad a record are fields to NumPy, too
        theirs[order] = values
        assert mine.tobytes() == theirs.tobytes()
        assert rows_of(some).base is not None
    conns = drawn(rng, records.CONN, 20)
    for k in (0, 1):
        assert parts(conns, "tuples", k).tobytes() == conns["tuples"][:, k].tobytes()
        assert parts(conns, "tuples", k).flags.c_contiguous


def test_a_record_of_odd_size_is_refused():
    """Seven bytes are no words."""
    with pytest.raises(ValueError, match=r"divisible|multiple|size"):
        rows_of(np.zeros(3, "u1,u2,u4"))
