"""Classic pcap files read by the megabyte, and blocks of pcapng laid out by the batch: against one packet at a time."""

import io
import random
import struct
from itertools import pairwise

import numpy as np
import pytest

from fastnat import Engine, InputError, Node, capture
from fastnat.capture import frames, pcap
from fastnat.capture.replay import Replay

LINKS = (pcap.ETHERNET, pcap.RAW, pcap.RAW_BSD, pcap.RAW_OPENBSD, pcap.COOKED, pcap.COOKED2, pcap.IPV4)
KINDS = (b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x88\xa8", b"\x08\x06", b"")


def one_by_one(text):
    """Return the packets of a classic pcap as struct and slices find them, and what is wrong, "" for nothing."""
    order, unit = pcap.MAGICS[text[:4]]
    link, at, found = struct.unpack_from(order + "I", text, 20)[0] & 0xFFFF, 24, []
    while at < len(text):
        if len(text) - at < 16:
            return found, f"byte {at}: cut within a packet header"
        seconds, part, kept, _ = struct.unpack_from(order + "IIII", text, at)
        if kept > pcap.MAX_PACKET:
            return found, f"byte {at}: a packet of {kept:,} bytes; at most {pcap.MAX_PACKET:,} are supported"
        frame = text[at + 16 : at + 16 + kept]
        if len(frame) < kept:
            return found, f"byte {at}: a packet of {kept} bytes is cut after {len(frame)}"
        found.append((seconds + part * unit, "", capture.ip_of(link, frame), pcap.link_of(link, frame)))
        at += 16 + kept
    return found, ""


def file_of(rng):
    """Return a classic pcap file of some link type, byte order and unit, whole or not."""
    link = rng.choice(LINKS)
    magic = rng.choice(list(pcap.MAGICS))
    order = pcap.MAGICS[magic][0]
    text = magic + struct.pack(order + "HHiIII", 2, 4, 0, 0, 65535, link | rng.choice((0, 0x10000)))
    for _ in range(rng.choice((0, 1, 5, 300))):
        frame = rng.randbytes(rng.choice((0, 1, 2, 12, 13, 14, 16, 20, 40, 200)))
        for place in (0, 12, 14, 16, 20):
            if rng.random() < 0.7:
                frame = frame[:place] + rng.choice(KINDS) + frame[place + 2 :]
        seconds, part = rng.getrandbits(32), rng.getrandbits(rng.choice((20, 32)))
        text += struct.pack(order + "IIII", seconds, part, len(frame), rng.getrandbits(16)) + frame
    fault = rng.random()
    if fault < 0.3 and len(text) > 24:
        text = text[: rng.randrange(24, len(text))]
    elif fault < 0.4:
        text += struct.pack(order + "IIII", 1, 2, rng.choice((262_145, 2**31, 2**32 - 1, 262_144)), 3)
    return text


@pytest.mark.one_of(2)
@pytest.mark.parametrize("chunk", [1, 40, 1000, 1 << 20])
def test_packets_are_those_that_are_read_one_by_one(chunk, tmp_path, monkeypatch):
    rng = random.Random(chunk)
    monkeypatch.setattr(pcap, "CHUNK", chunk)
    for n in range(60):
        text = file_of(rng)
        path = tmp_path / f"{n}.pcap"
        path.write_bytes(text)
        expected, wrong = one_by_one(text)
        found, said = [], ""
        try:
            found.extend(tuple(packet) for packet in capture.read(path))
        except InputError as error:
            said = str(error)
        assert (found, said) == (expected, f"{path}: {wrong}" if wrong else "")
        for batch in capture.read_batches(path) if not wrong else ():
            buffer, offsets = batch.gathered()
            begins = offsets.tolist()
            assert [buffer[a:b].tobytes() for a, b in pairwise(begins)] == batch.data


def test_a_batch_ends_at_its_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(pcap, "BATCH", 7)
    monkeypatch.setattr(pcap, "BATCH_BYTES", 100)
    head = b"\xd4\xc3\xb2\xa1" + struct.pack("<HHiIII", 2, 4, 0, 0, 65535, pcap.RAW)
    path = tmp_path / "in.pcap"
    path.write_bytes(head + b"".join(struct.pack("<IIII", n, 0, 3, 3) + b"abc" for n in range(20)))
    assert [len(batch.times) for batch in capture.read_batches(path)] == [7, 7, 6]
    path.write_bytes(head + b"".join(struct.pack("<IIII", n, 0, 40, 40) + bytes(40) for n in range(7)))
    assert [len(batch.times) for batch in capture.read_batches(path)] == [3, 3, 1]


def test_blocks_are_those_that_are_written_one_by_one():
    rng = random.Random(1)
    data = [rng.randbytes(rng.choice((0, 1, 2, 3, 4, 20, 100))) for _ in range(200)]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int64)
    text = np.frombuffer(b"".join(data), np.uint8)
    # halves of a nanosecond, the largest stamp, and one beyond
    for times in ([n + rng.random() for n in range(200)], [k * 0.5e-9 for k in range(200)], [18446744073.709549] * 200,
                  [-1e-10] * 200, [18446744073.709553] * 200, [-1.0] * 200, [float("nan")] * 200):  # fmt: skip
        numbers = np.array([rng.randrange(2) for _ in data], np.uint32)
        files = [io.BytesIO(), io.BytesIO()]
        quick, slow = map(capture.Writer, files)
        for writer in (quick, slow):
            writer.write_all([(0.0, "eth0", b""), (0.0, "local", b"")])
        whole = quick.write_frames(np.array(times), numbers, text, offsets[:-1].copy(), offsets[1:].copy())
        try:
            slow.write_all(zip(times, (("eth0", "local")[n] for n in numbers), data, strict=True))
        except InputError:
            assert not whole
        else:
            assert whole and files[0].getvalue() == files[1].getvalue()


def test_what_leaves_is_written_as_it_is_emitted():
    node = Node.example("k8s-worker")
    rng = random.Random(5)
    nat = Engine(node)
    run, files = Replay(nat, "cni0"), [io.BytesIO(), io.BytesIO()]
    together, apart = map(capture.Writer, files)
    for n in range(30):
        data = []
        for _ in range(rng.choice((1, 20))):
            size, dst = rng.choice((28, 40, 1400, 1600)), rng.choice((0xCB00710A, 0x0AF40101, 0x0AF40105))
            # padding behind the datagram, or less than it says
            head = struct.pack(">BBHHHBBHII", 0x45, 0, size, 1, 0, rng.choice((1, 64)), 17, 0, 0x0AF40102, dst)
            total = sum(struct.unpack(">10H", head))
            head = head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
            udp = struct.pack(">HHHH", rng.choice((4000, 4001)), 53, size - 20, 0) + bytes(size - 28)
            data.append((head + udp + bytes(rng.choice((0, 0, 18))))[: rng.choice((9999, 9999, 24))])
        for answers in run.run([capture.Batch([float(n)] * len(data), [""] * len(data), data)]):
            answers.write(together)
            apart.write_all(answers.emitted())
    assert files[0].getvalue() == files[1].getvalue()
    assert len(files[0].getvalue()) > 10_000


@pytest.mark.parametrize(
    ("begins", "ends", "room"),
    [([-1], [2], 100), ([2], [1], 100), ([0], [11], 100), ([0, 5], [6, 9], 9), ([0], [1], 0)],
)
def test_parts_that_do_not_fit_are_refused(begins, ends, room):
    text, out = bytes(10), np.empty(room, np.uint8)
    where = np.array(begins, np.int64), np.array(ends, np.int64)
    with pytest.raises(ValueError, match="fit"):
        frames.gather(text, *where, out)
    stamps, numbers = np.zeros(len(begins), np.uint64), np.zeros(len(begins), np.uint32)
    with pytest.raises(ValueError, match=r"not in the text|no room"):
        frames.blocks(text, *where, stamps, numbers, out[: 40 if room == 9 else room])
    with pytest.raises(ValueError, match="as many"):
        frames.blocks(text, *where, stamps[1:], numbers, out)


def test_scan_refuses_what_is_not_there():
    for at, columns in ((-1, 5), (25, 5), (0, 4)):
        with pytest.raises(ValueError, match="place in the text"):
            frames.scan(bytes(24), at, False, pcap.RAW, 100, 100, np.empty((2, columns), np.int64))
