"""The compiled reader of dumps against parse_line: it understands a line as that does, or leaves it alone."""

import io
import random

import numpy as np
import pytest
from nodes import MASQUERADE, examples, make_dual, make_node

import fastnat
from fastnat.addresses import V6
from fastnat.conntrack.dump import read
from fastnat.conntrack.lines import ENTRY, LINE, Interned, port_spaces, scan
from fastnat.conntrack.port_spaces import spaces_of
from fastnat.conntrack.rows import read_rows, row_of
from fastnat.conntrack.text import parse_line
from fastnat.dtypes import SCTP_STATES, TCP_STATES
from fastnat.errors import InputError

ODD_VALUES = ("", "0", "00", "+1", "0x1f", "1_0", "::", "1::2:3:4:5:6:7:8", "1.2.3")
NAMES = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
    50: "unknown",
}
BOUNDS = (0, 1, 2, 9, 10, 255, 256, 1023, 65534, 65535, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 2**64)


def scanned(lines, first=1):
    """Return the rows and the odd lines of a text."""
    text = "\n".join(lines).encode()
    rows, odd = np.zeros(len(lines) + 1, LINE), np.zeros((len(lines) + 1, 3), np.int64)
    plain, others = scan(text, rows, odd, first)
    return rows[:plain], odd[:others].tolist()


def drawn_address(draw, version):
    if version == 4:
        return ".".join(str(draw.choice([0, 1, 9, 10, 99, 100, 199, 255, draw.randrange(256)])) for _ in range(4))
    value = 0
    for _ in range(8):
        value = value << 16 | draw.choice([0, 0, 0, 1, 0xF, 0x10, 0xABC, 0xFFFF, draw.randrange(65536)])
    spelt = draw.choice([V6.to_text, lambda v: f"{v:032x}"])(value)
    return spelt if ":" in spelt else ":".join(spelt[k : k + 4] for k in range(0, 32, 4))


def drawn_line(draw):
    """Return a line of any protocol, in one of the forms that tools and kernels print."""
    version = draw.choice([4, 6])
    proto = draw.choice([6, 6, 17, 17, 132, 136, 33, 47, 50, 58 if version == 6 else 1])
    near, far = draw.randrange(65536), draw.choice([53, 443, 65535])
    words = draw.choice([[], [f"ipv{version}", "2" if version == 4 else "10"]])
    words = [*words, NAMES[proto], str(proto)]
    offloaded = draw.random() < 0.1
    if not offloaded or draw.random() < 0.3:
        words.append(str(draw.choice([0, 29, 431999, 4294967295])))
    if proto in (6, 132) and (not offloaded or draw.random() < 0.3):
        words.append(draw.choice(TCP_STATES if proto == 6 else SCTP_STATES))
    ends = [drawn_address(draw, version) for _ in range(2)]
    counted, zone = draw.random() < 0.3, draw.choice(["", "", "", "zone", "zone-orig", "zone-reply"])
    for direction in (0, 1):
        there = ends if direction == 0 else draw.choice([ends[::-1], [ends[1], drawn_address(draw, version)]])
        words += [f"src={there[0]}", f"dst={there[1]}"]
        if proto in (1, 58):
            words += [f"type={draw.choice([0, 8, 128, 255])}", f"code={draw.choice([0, 3])}", f"id={near}"]
        elif proto == 47:
            words += [f"srckey=0x{near:x}", "dstkey=0x0"]
        elif proto != 50:
            words += [f"sport={near if direction == 0 else far}", f"dport={far if direction == 0 else near}"]
        if zone == ("zone-orig", "zone-reply")[direction]:
            words.append(f"{zone}={draw.randrange(65536)}")
        if counted:
            words += [f"packets={draw.randrange(100)}", f"bytes={draw.choice([0, 4000, 2**64 - 1])}"]
        if direction == 0 and draw.random() < 0.3:
            words.append("[UNREPLIED]")
    if draw.random() < 0.4:
        words.append("[ASSURED]")
    if offloaded:
        words.append(draw.choice(["[OFFLOAD]", "[HW_OFFLOAD]"]))
    words += [f"mark={draw.choice([0, 7, 2**32 - 1])}"] if draw.random() < 0.9 else []
    words += [f"zone={draw.randrange(65536)}"] if zone == "zone" else []
    words += ["helper=ftp"] if draw.random() < 0.05 else []
    words += [f"delta-time={draw.randrange(1000)}"] if draw.random() < 0.1 else []
    words += [f"use={draw.randrange(1, 4)}"]
    words += [f"id={draw.randrange(2**32)}"] if draw.random() < 0.1 else []
    return words


def worn(draw, words):
    """Return a line in which something may be missing, doubled, exchanged, out of range or differently spelt."""
    words = list(words)
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        words = words or ["x"]
        at = draw.randrange(len(words))
        key, equals, value = words[at].partition("=")
        what = draw.randrange(9)
        if what == 0:
            del words[at]
        elif what == 1:
            words.insert(draw.randrange(len(words) + 1), words[at])
        elif what == 2:
            other = draw.randrange(len(words))
            words[at], words[other] = words[other], words[at]
        elif what == 3 and equals:
            words[at] = f"{key}={draw.choice(BOUNDS)}"
        elif what == 4 and equals:
            words[at] = f"{key}={draw.choice([*ODD_VALUES, f'{value}.', f'{value}:', f'0{value}'])}"
        elif what == 5:
            words[at] = words[at].upper() if draw.random() < 0.5 else words[at][:-1] or "x"
        elif what == 6:
            words[at] = draw.choice(["[NEW]", "[OFFLOAD]", "src=", "=", "ipv4", "secmark=3", "x:src=1", "-src=1.1.1.1"])
        elif what == 7:
            letters = list(words[at])
            letters[draw.randrange(len(letters))] = draw.choice("=: .,\x00\x0b\x1c\x7f\x85\xa0é\u2028")
            words[at] = "".join(letters)
        else:
            words = words[:at]
    return "".join(word + draw.choice([" ", " ", " ", "  ", "\t", " \r"]) for word in words)


@pytest.mark.drawn
def test_a_plain_line_is_what_parse_line_makes_of_it():
    draw = random.Random(6)
    lines = [worn(draw, drawn_line(draw)) for _ in range(examples(6000))]
    rows, odd = scanned(lines)
    assert sorted([*rows["number"].tolist(), *(number for number, *_ in odd)]) == list(range(1, len(lines) + 1))
    for row in rows:
        line = lines[row["number"] - 1]
        assert np.array([row_of(int(row["number"]), parse_line(line))], LINE)[0] == row, line
    text = "\n".join(lines).encode()
    assert [text[begin:end].decode() for _, begin, end in odd] == [lines[number - 1] for number, *_ in odd]
    # of what is not worn, only helpers and protocols without ports are left to parse_line
    fresh = [drawn_line(draw) for _ in range(examples(2000))]
    rest = [fresh[number - 1] for number, *_ in scanned([" ".join(words) for words in fresh])[1]]
    assert rest
    assert all({"helper=ftp", "gre", "unknown"} & set(words) for words in rest)
    # most worn lines are still read, by one or the other
    assert 0.2 < len(rows) / len(lines) < 0.8


@pytest.mark.parametrize("style", ["conntrack", "extended", "proc"])
def test_every_line_that_the_engine_prints_is_plain(style):
    nat = fastnat.Engine(make_dual(MASQUERADE, MASQUERADE), seed=3)
    for version, src, dst in ((4, "10.244.1.2", "203.0.113.9"), (6, "fd00:1::2", "2001:db8:9::9")):
        for proto, flags in (("tcp", {"tcp_flags": 2}), ("udp", {}), ("sctp", {})):
            nat.process(
                nat.packets(proto=proto, src=src, dst=dst, sport=range(5000, 5050), dport=80, iface="cni0", **flags)
            )
        echo, kind = ("icmp", 8) if version == 4 else ("icmpv6", 128)
        nat.process(nat.packets(proto=echo, src=src, dst=dst, sport=range(50), dport=kind << 8, iface="cni0"))
    lines = nat.conntrack.format(style).splitlines()
    rows, odd = scanned(lines)
    assert (len(rows), odd) == (len(nat.conntrack), [])
    assert set(rows["version"].tolist()) == {4, 6}


def test_rows_keep_the_order_of_the_lines_whoever_read_them():
    draw = random.Random(7)
    lines = [" ".join(drawn_line(draw)) for _ in range(500)]
    found = read_rows("\n".join(lines).encode(), 10)
    assert found.broken == []
    assert found.rows["number"].tolist() == list(range(10, 510))
    for k, line in enumerate(lines):
        c = parse_line(line)
        assert np.array([row_of(k + 10, c)], LINE)[0] == found.rows[k]
        assert found.helpers.get(k, "") == c.helper


def test_all_forms_of_one_address_are_one_port_space():
    """/proc writes IPv6 addresses at full length, conntrack(8) does not."""
    tuples = "src={0} dst={1} sport={2} dport=53 src={1} dst={0} sport=53 dport={2}"
    short, long = ("fd00::1", "2001:db8::9"), ("fd00:0000:0000:0000:0000:0000:0000:0001", "2001:0db8:0:0:0:0:0:0009")
    text = f"udp 17 29 {tuples.format(*short, 1000)} mark=0 use=1\n"
    text += f"ipv6 10 udp 17 29 {tuples.format(*long, 1001)} mark=0 zone=0 use=2\n"
    (space,) = spaces_of(read(io.BytesIO(text.encode())), every=True)
    assert (space.address, space.dst, space.connections, space.sources) == (
        "fd00::1",
        "2001:db8::9",
        2,
        [("fd00::1", 2)],
    )


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
def test_chunks_do_not_matter(monkeypatch, cut):
    nat = fastnat.Engine(make_node(), seed=1)
    nat.process(
        nat.packets(proto="udp", src="10.244.1.2", dst="203.0.113.9", sport=range(3000, 3200), dport=53, iface="cni0")
    )
    text = nat.conntrack.format().encode()
    whole = spaces_of(read(io.BytesIO(text)), every=True)
    monkeypatch.setattr("fastnat.conntrack.dump.CHUNK", len(text) // cut + 1)
    parts = spaces_of(read(io.BytesIO(text)), every=True)
    assert [(s.name, s.used, s.sources) for s in parts] == [(s.name, s.used, s.sources) for s in whole]


def test_the_conntrack_id_of_an_icmp_line_is_none_of_its_tuples():
    """`conntrack -L -o id` prints it behind everything else."""
    line = "icmp 1 29 src=10.0.0.1 dst=2.2.2.2 type=8 code=0 id=77 src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=78 use=1"
    assert parse_line(f"{line} id=3141592653").original == parse_line(line).original
    assert parse_line(f"{line} id=3141592653").reply == parse_line(line).reply
    with pytest.raises(InputError, match="expected id= and type= in both tuples"):
        parse_line(f"{line} id=1 id=2")


def test_columns_that_are_too_short_are_refused():
    rows, odd = np.zeros(1, LINE), np.zeros((1, 3), np.int64)
    with pytest.raises(ValueError, match="more than 1 lines"):
        scan(b"\n\n", rows, odd, 1)
    with pytest.raises(ValueError, match="one length"):
        scan(b"\n", rows, np.zeros((2, 3), np.int64), 1)
    with pytest.raises(ValueError, match="not enough for 1 rows"):
        port_spaces(rows, Interned(), Interned(), np.zeros(ENTRY.itemsize - 1, np.uint8))


def test_numbers_of_keys_stay_while_the_table_grows():
    addresses, spaces = Interned(), Interned()
    seen = []
    for part in range(6):
        rows = np.zeros(3000, LINE)
        rows["proto"], rows["version"], rows["zone_dir"] = 17, 4, 3
        rows["ends"][:, 0, 1] = np.arange(3000) + 1000 * part
        rows["ports"][:, 2] = np.arange(3000) % 50
        entries = np.zeros(3000, ENTRY)
        assert port_spaces(rows, addresses, spaces, entries.view(np.uint8)) == 3000
        seen.append((rows["ends"][:, 0, 1], entries["source"]))
        assert spaces.n == 50
    for address, number in seen:
        assert (addresses.keys[number, 1] == address).all()
    # 0.0.0.0 of the replies is the first of them
    assert addresses.n == 8000
