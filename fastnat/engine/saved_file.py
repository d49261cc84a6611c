"""The arrays of a saved state, read as they are asked for; their names, sizes and types are not trusted.

Source: numpy.lib.format (version 1.0 of .npy) within a ZIP archive, as numpy.savez writes them.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..util.files import parse_json

# bytes of the node's files as text; records taken at a time
MAX_META, RECORDS = 1 << 28, 1 << 16


class Member:
    """One array that is read front to back: its elements' type, its shape, and what the archive says of its size."""

    def __init__(self, name: str, info: zipfile.ZipInfo, stream: IO[bytes]) -> None:
        self.name, self.stream = name, stream
        if npy.read_magic(stream) != (1, 0):
            raise ValueError(f"{name}: not in version 1.0 of the .npy format")
        shape, fortran_order, dtype = npy.read_array_header_1_0(stream)
        self.shape: tuple[int, ...] = shape
        self.dtype: np.dtype[Any] = dtype
        if fortran_order or info.file_size != stream.tell() + math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name}: its header and its size disagree")

    def check(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Raise ValueError for an array of another type or shape, before any of it is read."""
        if self.dtype != dtype or self.shape != shape:
            raise ValueError(f"{self.name}: expected {dtype}{list(shape)}, got {self.dtype}{list(self.shape)}")

    def chunk(self, n: int) -> NDArray[np.void]:
        """Return the next n elements of the first axis."""
        each = math.prod(self.shape[1:])
        data = self.stream.read(n * each * self.dtype.itemsize)
        # a copy: what is made of the bytes may be written
        return np.frombuffer(data, self.dtype).reshape(n, *self.shape[1:]).copy()


class StateFile:
    """A state as numpy.savez_compressed wrote it."""

    def __init__(self, file: BinaryIO) -> None:
        self.zip = zipfile.ZipFile(file)
        self.infos: dict[str, zipfile.ZipInfo] = {}
        for info in self.zip.infolist():
            if info.filename in self.infos or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"array {info.filename[:60]!r} occurs twice, or is packed in another way")
            self.infos[info.filename] = info

    def __enter__(self) -> StateFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.zip.close()

    def member(self, name: str) -> Member:
        """Return an array of which only the header was read; KeyError where there is none."""
        info = self.infos[f"{name}.npy"]
        return Member(name, info, self.zip.open(info))

    def take(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[np.void]:
        """Return a whole array of exactly this type and shape."""
        member = self.member(name)
        member.check(dtype, shape)
        return member.chunk(shape[0])

    def take_some(self, name: str, dtype: np.dtype[Any], most: int) -> NDArray[np.void]:
        """Return a whole array of this type, of at most this many elements."""
        member = self.member(name)
        n = member.shape[0] if len(member.shape) == 1 else 0
        member.check(dtype, (min(n, most),))
        return member.chunk(n)

    def together(self, dtypes: dict[str, np.dtype[Any]], most: int) -> Iterator[list[NDArray[np.void]]]:
        """Yield pieces of arrays of one length side by side, so that a rejected state takes no memory.

        dtypes: by the names of the arrays.
        """
        members = [self.member(name) for name in dtypes]
        n = members[0].shape[0] if len(members[0].shape) == 1 else 0
        for member, dtype in zip(members, dtypes.values(), strict=True):
            member.check(dtype, (min(n, most),))
        for at in range(0, n, RECORDS):
            size = min(RECORDS, n - at)
            yield [member.chunk(size) for member in members]

    def meta(self) -> dict[str, Any]:
        """Return the data beside the arrays."""
        text = self.take_some("meta", np.dtype(np.uint8), MAX_META).tobytes().decode()
        found = parse_json(text, "meta", "a JSON object")
        if not isinstance(found, dict):
            raise TypeError("meta: expected a JSON object")
        return found
