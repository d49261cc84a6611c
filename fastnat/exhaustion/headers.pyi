import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from ..dtypes import Records

@disjoint_base
class Headers:
    def __init__(self, records: Records) -> None: ...
    def gather(
        self, rows: NDArray[np.uint64], slots: NDArray[np.int64], flags: int, out: NDArray[np.uint64], begin: int
    ) -> None: ...
    def opened(
        self,
        packets: NDArray[np.uint64],
        results: NDArray[np.uint64],
        slots: NDArray[np.int64],
        answers: NDArray[np.uint64],
        is_open: NDArray[np.uint8],
    ) -> NDArray[np.int64]: ...
