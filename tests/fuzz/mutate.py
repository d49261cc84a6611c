"""Inputs made from other inputs: bytes of anything, lines and words of text, values of JSON, records of states."""

import io
import json
import re
import zipfile

import numpy as np

# what readers trip over: limits of 8, 16, 32 and 64 bits, of seconds and of digits, and what is no number at all
NUMBERS = [
    "0", "-1", "1", "255", "256", "32767", "32768", "65535", "65536", "99999", "2147483647", "2147483648",
    "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615",
    "18446744073709551616", "9" * 30, "9" * 400,
    "9" * 5000, "0x10", "0xffffffff", "1e3", "1e400", "-1e400", "nan", "inf", "-inf", "1_000", "٣", "²",
    "00", "+5", " 5", "1.5", "",
]  # fmt: skip
ODD = [
    "\x00", "\x1b[31m", "\r\n", "\n", "\t", "\ufeff", "\u2028", "\x85", "[bold]", ":b:", "=1+1", "'", '"', "\\", "`",
    "<", "&", "%s", "{}", ",", ",,", ":", "/", "-", "!", "! ", "--", "#", "*", ";", "(", ")", "a" * 300, "é",
    "\ud83d\ude00", "🅱",
]  # fmt: skip
NUMBER = re.compile(rb"-?\d+")
TEXT_KINDS = ("rules", "ipset", "ipvs", "dump", "node", "scenario")
JSON_KINDS = ("run", "bench")
SPECIAL = [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**63, 2**64 - 1]


def mutate(kind, data, other, rng, limit=1 << 16):
    """Return a neighbour of an input; `other` is a second one of its kind, to take parts from."""
    out = data
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if kind == "state":
            out = states(out, rng)
        elif kind in JSON_KINDS and rng.random() < 0.7:
            out = values(out, rng)
        elif kind in TEXT_KINDS and rng.random() < 0.85:
            out = text(out, other, rng)
        else:
            out = octets(out, other, rng)
    return out[:limit]


def octets(data, other, rng):
    d = bytearray(data or b"\0")
    at = rng.randrange(len(d))
    what = rng.randrange(7)
    if what == 0:
        d[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        d[at] = rng.choice([0, 1, 10, 32, 127, 128, 255, rng.randrange(256)])
    elif what == 2:
        width = rng.choice([2, 4, 8])
        value = rng.choice(SPECIAL) & ((1 << 8 * width) - 1)
        d[at : at + width] = value.to_bytes(width, rng.choice(["little", "big"]))
    elif what == 3:
        del d[at : at + rng.choice([1, 4, 64])]
    elif what == 4:
        d[at:at] = d[at : at + rng.choice([1, 8, 64])] * rng.choice([1, 2, 50])
    elif what == 5 and other:
        cut = rng.randrange(len(other))
        d[at:] = other[cut : cut + rng.choice([8, 64, len(other)])]
    else:
        del d[at:]
    return bytes(d)


def text(data, other, rng):
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    what = rng.randrange(9)
    if what == 0 and (found := list(NUMBER.finditer(data))):
        m = rng.choice(found)
        return data[: m.start()] + rng.choice(NUMBERS).encode() + data[m.end() :]
    if what == 1:
        words = lines[at].split(b" ")
        words[rng.randrange(len(words))] = rng.choice((other or data).split() or [b""])
        lines[at] = b" ".join(words)
    elif what == 2:
        cut = rng.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:cut] + rng.choice(ODD).encode(errors="surrogatepass") + lines[at][cut:]
    elif what == 3:
        del lines[at]
    elif what == 4:
        lines[at:at] = [lines[at]] * rng.choice([1, 2, 30])
    elif what == 5:
        lines.insert(at, rng.choice((other or data).split(b"\n")))
    elif what == 6:
        words = lines[at].split(b" ")
        k = rng.randrange(len(words))
        words[k:k] = words[k : k + rng.choice([1, 2, 4])] * rng.choice([1, 2, 20])
        lines[at] = b" ".join(words)
    elif what == 7:
        rng.shuffle(lines)
    else:
        return octets(data, other, rng)
    return b"\n".join(lines)


def values(data, rng):
    """Replace one value of a JSON document, or take it out."""
    try:
        doc = json.loads(data)
    except (ValueError, RecursionError):
        return octets(data, b"", rng)
    places = []

    def walk(value):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(child, (dict, list)):
                walk(child)

    if isinstance(doc, (dict, list)):
        walk(doc)
    if not places:
        return octets(data, b"", rng)
    holder, key = rng.choice(places)
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice([
            None, True, -1, 0, 2**31, 2**64, 10**40, 1.5, float("nan"), float("inf"), "", "x", rng.choice(ODD), [], {},
            [[]], [None], {"a": 1}, "a" * 5000, holder[key], [holder[key]], {"x": holder[key]},
        ])  # fmt: skip
    return json.dumps(doc, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")


def states(data, rng):
    """Change a saved state: fields of records, how many there are, a value of its head, or the bytes of the file."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name].copy() for name in file.files}
    except Exception:
        # damaged already: NumPy's reader has many ways to say so
        return octets(data, b"", rng)
    what = rng.random()
    if what < 0.08 or not arrays:
        return octets(data, b"", rng)
    name = rng.choice(sorted(arrays))
    if what < 0.3 and "meta" in arrays:
        arrays["meta"] = np.frombuffer(values(arrays["meta"].tobytes(), rng), np.uint8)
    elif what < 0.36:
        arrays.pop(name)
    elif what < 0.46:
        a = arrays[name]
        n = len(a) if a.ndim else 0
        twice = np.concatenate([a, a]) if n else a
        arrays[name] = rng.choice([a[:0], a[: n // 2], twice, a[::-1], np.zeros(3, np.uint8)])
    else:
        full = [k for k in sorted(arrays) if k != "meta" and arrays[k].size]
        for _ in range(rng.choice([1, 1, 3, 20])):
            if full:
                field(arrays[rng.choice(full)], rng)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, a in arrays.items():
            with target.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(a), allow_pickle=False)
    return file.getvalue()


def field(a, rng):
    """Change one field of one record; often to what another record has there, so that two want the same."""
    if a.size == 0 or not a.flags.writeable:
        return
    flat = a.reshape(-1)
    if flat.dtype.names:
        name = rng.choice(flat.dtype.names)
        column = flat[name]
        if column.dtype.names or column.ndim > 1:
            field(column, rng)
            return
    else:
        column = flat
    at = rng.randrange(len(column))
    if rng.random() < 0.4:
        column[at] = column[rng.randrange(len(column))]
    elif column.dtype.kind in "iu":
        bits = 8 * column.dtype.itemsize
        there = int(column[at])
        value = rng.choice([*SPECIAL, rng.getrandbits(bits), there ^ 1 << rng.randrange(bits), there + 1])
        column[at] = np.array(value & ((1 << bits) - 1), f"u{column.dtype.itemsize}").astype(column.dtype)
    else:
        octs = bytearray(column[at].tobytes())
        octs[rng.randrange(len(octs))] = rng.randrange(256)
        column[at] = np.frombuffer(bytes(octs), column.dtype)[0]
