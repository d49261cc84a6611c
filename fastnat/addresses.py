"""IPv4 text to host-order integers and back."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

AddressLike = str | int | np.integer[Any] | ipaddress.IPv4Address


def to_int(address: AddressLike) -> int:
    """Return an IPv4 address as a host-order integer; ValueError for anything else."""
    if isinstance(address, (int, np.integer)):
        if not 0 <= int(address) <= 0xFFFFFFFF:
            raise ValueError(f"{address} is not an IPv4 address")
        return int(address)
    return int(ipaddress.IPv4Address(address))


def to_text(address: int) -> str:
    """Return the dotted form of a host-order integer."""
    return f"{address >> 24 & 255}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def to_array(addresses: Any) -> Any:
    """Return addresses of any form as a uint32 scalar or array."""
    if isinstance(addresses, np.ndarray) and addresses.dtype.kind in "iu":
        return addresses.astype(np.uint32, copy=False)
    if isinstance(addresses, (str, int, np.integer, ipaddress.IPv4Address)):
        return np.uint32(to_int(addresses))
    return np.array([to_int(a) for a in addresses], np.uint32)


def mask_of(length: int) -> int:
    """Return the netmask of a prefix length."""
    return 0xFFFFFFFF << (32 - length) & 0xFFFFFFFF
