"""Records gathered and scattered as rows of 64-bit words, which NumPy does ten times as fast as field by field."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rows_of(records: NDArray[Any]) -> NDArray[np.uint64]:
    """Return records, one behind the other, as rows of words in the same memory: uint64[n, itemsize / 8].

    Raises ValueError for records whose size is no multiple of eight bytes.
    """
    return records.view(np.uint64).reshape(len(records), records.dtype.itemsize // 8)


def picked(records: NDArray[Any], at: NDArray[Any]) -> NDArray[Any]:
    """Return records[at], at: numbers or a mask."""
    return _records(rows_of(records)[at], records.dtype)


def put(records: NDArray[Any], at: NDArray[Any], values: NDArray[Any]) -> None:
    """Write records[at] = values."""
    rows_of(records)[at] = rows_of(values)


def parts(records: NDArray[Any], name: str, k: int) -> NDArray[Any]:
    """Return records[name][:, k], one behind the other; both are records themselves."""
    inner, begin = records.dtype.fields[name][:2]  # type: ignore[index]  # records have fields
    size, begin = inner.base.itemsize // 8, begin // 8
    first = begin + k * size
    return _records(np.ascontiguousarray(rows_of(records)[:, first : first + size]), inner.base)


def _records(rows: NDArray[np.uint64], dtype: np.dtype[Any]) -> NDArray[Any]:
    return rows.view(dtype).reshape(len(rows))
