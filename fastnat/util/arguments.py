"""Arguments of callers: protocols, ports, addresses and columns, checked before they become fields of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family, family_of
from ..dtypes import PROTOCOLS
from ..errors import ArgumentError, InputError
from .text import shown, whole


def protocol(value: object) -> int:
    """Return the number of a protocol, given by name or number; InputError names what is known."""
    if isinstance(value, str):
        if value not in PROTOCOLS:
            raise InputError(f"proto {shown(value, 60)}: expected one of {', '.join(PROTOCOLS)}, or a number in 0..255")
        return PROTOCOLS[value]
    return whole("proto", value, 0, 255)


def port(name: str, value: object) -> int:
    """Return a port; InputError for anything else."""
    return whole(name, value, 0, 65535)


def address(name: str, value: Any, family: Family | None = None) -> tuple[Family, int]:
    """Return family and number of an address; InputError for anything else, and for an address of another family."""
    try:
        family = family or family_of(value)
        return family, family.to_int(value)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None


def addresses(name: str, value: object, make: Callable[[Any], Any]) -> Any:
    """Return the result of `make` for one address or many; InputError and ArgumentError name the argument."""
    try:
        return make(value)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{name}: {error}") from None
    except TypeError:
        raise ArgumentError(f"{name}: {shown(value, 60)} is not an address, a list or an array of addresses") from None


def column(name: str, value: object, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a field of packets as an array of whole numbers that fit into it."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        array = np.zeros(1, "O")
    # integers beyond 64 bits come as objects
    huge = isinstance(value, int) and array.dtype.kind == "O"
    if array.dtype.kind not in "iubf" and not huge and array.size:
        raise ArgumentError(f"{name}: {shown(value, 60)} is neither a number nor an array of numbers")
    high = int(np.iinfo(dtype).max)
    if array.dtype != dtype and array.size:
        good = (array >= 0) & (array <= high)
        if array.dtype.kind == "f":
            good &= array == np.floor(array)
        if not good.all():
            wrong = value if huge else array[~good].flat[0].item()
            raise InputError(f"{name} {shown(wrong, 60)} is not a whole number in 0..{high}")
    return array


def datagram(value: Any) -> bytes:
    """Return the bytes of any buffer; ArgumentError for anything else."""
    try:
        return memoryview(value).tobytes()
    except TypeError:
        raise ArgumentError(f"expected the bytes of a datagram, got {type(value).__name__}") from None
