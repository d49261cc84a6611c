"""IP addresses as host-order integers, text and arrays, for both families."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

AddressLike = str | int | np.integer[Any] | ipaddress.IPv4Address | ipaddress.IPv6Address

# characters of an address with zeros and a zone
LONGEST = 80
# what is one address, or none: of bytes each would be a number
ONE: tuple[type[Any], ...] = (
    str,
    int,
    np.integer,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    bytes,
    bytearray,
    memoryview,
)


@lru_cache(maxsize=1 << 16)
def parse_text(text: str, version: int) -> int:
    """Return an address as a host-order integer; cached, because rule files repeat addresses."""
    if len(text) > LONGEST:
        raise ValueError(f"{text[:LONGEST]!r}... is not an IPv{version} address")
    if version == 6:
        try:
            return int(ipaddress.IPv6Address(text))
        except ValueError as error:
            why = f": {error}" if ":" in text else ""
            raise ValueError(f"{text!r} is not an IPv6 address{why}") from None
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IPv4 address") from None


# octets of a link-layer address, as nft takes them
MAC = re.compile(r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}")


def mac_number(text: str) -> int | None:
    """Return a link-layer address, as 02:00:00:00:00:01, as an integer; None if the text is none."""
    return int("".join(part.zfill(2) for part in text.split(":")), 16) if MAC.fullmatch(text) else None


def mac_text(number: int) -> str:
    """Return a link-layer address as text."""
    return number.to_bytes(6, "big").hex(":")


@dataclass(frozen=True)
class Family:
    """What differs between IPv4 and IPv6 outside of the core."""

    version: int
    name: str
    bits: int
    icmp: int

    @cached_property
    def full(self) -> int:
        """The address, or mask, of all ones."""
        return (1 << self.bits) - 1

    def to_int(self, address: AddressLike) -> int:
        """Return an address of this family as a host-order integer; ValueError for anything else."""
        if isinstance(address, (int, np.integer)) and not isinstance(address, bool):
            if not 0 <= int(address) <= self.full:
                raise ValueError(f"{address} is not an IPv{self.version} address")
            return int(address)
        return parse_text(str(address), self.version)

    def to_text(self, address: int) -> str:
        """Return the usual text of a host-order integer."""
        if self.version == 4:
            return f"{address >> 24 & 255}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
        return str(ipaddress.IPv6Address(address))

    def mask_of(self, length: int) -> int:
        """Return the netmask of a prefix length."""
        return self.full << (self.bits - length) & self.full

    def pack(self, address: int) -> Any:
        """Return an address as the records of the core hold it: a number, or (low, high) 64 bits."""
        return address if self.version == 4 else (address & 2**64 - 1, address >> 64)

    def unpack(self, value: Any) -> int:
        """Return an address out of a record of the core."""
        return int(value) if self.version == 4 else int(value["high"]) << 64 | int(value["low"])

    def unpack_all(self, values: Any) -> list[int]:
        """Return addresses out of an array of the core."""
        if self.version == 4:
            return list(values.tolist())
        return [high << 64 | low for high, low in zip(values["high"].tolist(), values["low"].tolist(), strict=True)]


V4 = Family(4, "inet", 32, 1)
V6 = Family(6, "inet6", 128, 58)
FAMILIES = {4: V4, 6: V6}
to_int, to_text, mask_of = V4.to_int, V4.to_text, V4.mask_of


def family_of(address: AddressLike) -> Family:
    """Return the family of an address; an integer is taken as IPv4 where it fits."""
    if isinstance(address, str):
        return V6 if ":" in address else V4
    if isinstance(address, ipaddress.IPv6Address):
        return V6
    return V6 if isinstance(address, int) and address > V4.full else V4


def end_text(address: str, port: int) -> str:
    """Return an address and a port as URLs have them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def fold(address: int) -> int:
    """Return an address in 32 bits, as `folded` of core/rules/sets.pxd."""
    return (address ^ address >> 32 ^ address >> 64 ^ address >> 96) & 0xFFFFFFFF


def to_array(addresses: Any) -> Any:
    """Return IPv4 addresses of any form as a uint32 scalar or array."""
    if isinstance(addresses, np.ndarray) and addresses.dtype.kind in "iu":
        if addresses.dtype != np.uint32 and addresses.size:
            for extreme in (addresses.min(), addresses.max()):
                to_int(extreme)
        return addresses.astype(np.uint32, copy=False)
    if isinstance(addresses, ONE):
        return np.uint32(to_int(addresses))
    return np.array([to_int(a) for a in addresses], np.uint32)


def to_array6(addresses: Any, dtype: np.dtype[Any]) -> Any:
    """Return IPv6 addresses of any form as an array of (low, high) records."""
    if isinstance(addresses, np.ndarray) and addresses.dtype == dtype:
        return addresses
    if isinstance(addresses, ONE):
        return np.array(V6.pack(V6.to_int(addresses)), dtype)
    return np.array([V6.pack(V6.to_int(a)) for a in addresses], dtype)
