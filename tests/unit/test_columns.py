"""Connections as data frames: the same as the listing says, for both families, with names for states."""

import sys

import numpy as np
import pytest
from unit.test_flows import dual_stack

import fastnat

pandas = pytest.importorskip("pandas", reason="needs pandas")
polars = pytest.importorskip("polars", reason="needs polars")


@pytest.fixture(scope="module")
def nat():
    node = dual_stack()
    node.sysctls["net.netfilter.nf_conntrack_acct"] = "1"
    made = fastnat.Engine(node)
    made.connect("udp", "10.244.2.2", np.arange(9), "203.0.113.10", 53, 1.0)
    made.connect("tcp", "10.244.255.254", 1000, ["203.0.113.10", "203.0.113.11"], 80, 1.0)
    made.connect("sctp", "10.244.0.2", 1000, ["203.0.113.10"], 80, 1.0)
    made.connect("tcp", ["2001:db8:a::2", "2001:db8:a::3"], 1000, "2001:db8:c::9", 80, 1.0)
    made.close(made.conntrack.find("tcp", "10.244.255.254", 1000, "203.0.113.11", 80), 2.0)
    return made


def expected(nat):
    rows = []
    for c in nat.conntrack:
        to_text = c.family.to_text
        state = {6: fastnat.dtypes.TCP_STATES, 132: fastnat.dtypes.SCTP_STATES}.get(c.proto)
        ends = {f"{way}{end}": to_text(a) for way, t in (("", c.original), ("reply_", c.reply))
                for end, a in zip(("src", "dst"), t, strict=False)}  # fmt: skip
        rows.append({
            "proto": {6: "tcp", 17: "udp", 132: "sctp"}[c.proto], **ends, "sport": c.original[2],
            "dport": c.original[3], "reply_sport": c.reply[2], "reply_dport": c.reply[3], "timeout": c.timeout,
            "status": c.status, "mark": c.mark, "zone": c.zone, "state": state[state_of(nat, c)] if state else "",
        })  # fmt: skip
    return rows


def state_of(nat, c):
    return int(nat.core_of(c.family.version).arrays["conns"]["state"][c.index])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_say_what_the_listing_says(nat, library):
    frame = getattr(nat.conntrack, f"to_{library}")()
    rows = frame.to_dicts() if library == "polars" else frame.to_dict("records")
    counts = ("packets", "bytes", "reply_packets", "reply_bytes")
    assert [{k: v for k, v in row.items() if k not in counts} for row in rows] == expected(nat)
    assert {row["state"] for row in rows if row["proto"] == "tcp"} == {"SYN_SENT", "TIME_WAIT"}
    assert all(row["packets"] >= 1 and row["bytes"] >= 60 for row in rows)


def test_arrays_are_flat_for_both(nat):
    for version in (4, 6):
        rows = nat.conntrack.to_numpy(version)
        assert pandas.DataFrame(rows).shape == polars.from_numpy(rows).shape == (len(rows), len(rows.dtype.names))
    assert rows["src_high"].tolist() == [0x20010DB8000A0000] * 2 and rows["src_low"].tolist() == [2, 3]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_an_empty_engine_and_a_missing_library(monkeypatch, library):
    empty = fastnat.Engine(dual_stack())
    assert getattr(empty.conntrack, f"to_{library}")().shape == (0, 18)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(fastnat.InputError, match=rf"needs {library}: pip install 'fastnat\[{library}\]'"):
        getattr(empty.conntrack, f"to_{library}")()
