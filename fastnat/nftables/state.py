"""What counters, limits and quotas remember, as the core holds it (nft_state_t).

Source: nft_limit.c, nft_quota.c, nft_counter.c, nft_connlimit.c (Linux 6.18).
"""

from __future__ import annotations

from ..core.layout import NftExprKind
from .tree import Counter, CtCount, Last, Limit, Quota, Statement

SECOND = 1_000_000_000
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
DEFAULT_BURST = 5
COLUMNS = ("packets", "bytes", "tokens", "last", "cost", "most", "period")


def state_row(s: Statement) -> dict[str, int]:
    """Return what a statement begins with."""
    if isinstance(s, Counter):
        return {"packets": s.packets, "bytes": s.bytes}
    if isinstance(s, Quota):
        return {"bytes": s.used, "most": s.bytes}
    if isinstance(s, Limit):
        return limit_row(s)
    return {}


def state_columns(s: Statement) -> tuple[int, ...]:
    """Return what a statement begins with as a row of nft_state_t."""
    row = state_row(s)
    return tuple(row.get(name, 0) for name in COLUMNS)


def limit_row(s: Limit) -> dict[str, int]:
    """Return a full bucket; ValueError for a rate that the kernel refuses."""
    period = PERIODS[s.per] * SECOND
    if s.rate == 0:
        raise ValueError("limit rate 0: the kernel refuses that")
    if s.unit == "bytes":
        most = period * (s.rate + s.burst) // s.rate
        row = {"tokens": most, "cost": s.rate, "most": most, "period": period}
    else:
        cost = period // s.rate
        most = cost * (s.burst or DEFAULT_BURST)
        row = {"tokens": most, "cost": cost, "most": most}
    if any(value >= 1 << 64 for value in row.values()):
        raise ValueError("limit: this rate with this burst is out of range")
    return row


def stateful(s: Statement) -> tuple[NftExprKind, int, int]:
    """Return the kind of expression of a statement, and its b and c."""
    if isinstance(s, Counter):
        return NftExprKind.COUNTER, 0, 0
    if isinstance(s, Limit):
        return NftExprKind.LIMIT, s.over | (s.unit == "bytes") << 1, 0
    if isinstance(s, Quota):
        return NftExprKind.QUOTA, int(s.over), 0
    if isinstance(s, CtCount):
        return NftExprKind.CONNLIMIT, int(s.over), s.count
    assert isinstance(s, Last)
    return NftExprKind.LAST, 0, 0
