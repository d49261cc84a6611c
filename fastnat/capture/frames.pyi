from typing import Any

import numpy as np
from numpy.typing import NDArray

def scan(
    text: Any, at: int, big: bool, link: int, most: int, room: int, found: NDArray[np.int64]
) -> tuple[int, int]: ...
def gather(text: Any, begins: NDArray[np.int64], ends: NDArray[np.int64], out: NDArray[np.uint8]) -> None: ...
def blocks(
    text: Any,
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    stamps: NDArray[np.uint64],
    numbers: NDArray[np.uint32],
    out: NDArray[np.uint8],
) -> int: ...
