from typing import Any, final

import numpy as np
from numpy.typing import NDArray

LINE: np.dtype[np.void]
ENTRY: np.dtype[np.void]
FLAGS: dict[str, int]

def scan(text: Any, rows: NDArray[np.void], odd: NDArray[np.int64], first: int) -> tuple[int, int]: ...

@final
class Interned:
    keys: NDArray[np.uint64]
    n: int

def port_spaces(
    rows: NDArray[np.void],
    addresses: Interned,
    spaces: Interned,
    entries: NDArray[np.uint8],
) -> int: ...
