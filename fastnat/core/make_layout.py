"""Make the other forms of codes.h and types.h: types.pxd for Cython, layout.py for Python, layout.h for the compiler.

    python fastnat/core/make_layout.py           writes them beside the headers
    python fastnat/core/make_layout.py --check   ends with 1 when one of them is not what the headers say

It reads the C that these two headers are written in, not all of C: a declaration a line, fixed-width integers, no bit
fields. Of a union Python sees the last member, Cython all. layout.h holds the sizes and offsets that NumPy will assume,
which the compiler confirms for both families, and where engine_t keeps the arrays.

A form is a struct x_form_t, one of the members of match_t's union: what a match says by its kind. codes.h names the
form of each kind; docs/rules.md is made of both.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
INTEGERS = {f"{sign}int{8 * n}_t": n for n in (1, 2, 4, 8) for sign in ("u", "")}
# bytes of an address and its alignment, by family
ADDRESS = {4: (4, 4), 6: (16, 8)}
MADE = "Made by make_layout.py; change codes.h or types.h and run `make layout`"
# what make_layout.py cannot read in the headers: the functions of platform.h, tuples/keyed_hash.h and packet/crc32c.h
FUNCTIONS = HERE / "functions.pxi"
PAGE = HERE.parents[1] / "docs" / "rules.md"
FORM = "_form_t"


@dataclass
class Field:
    """A member of a struct. size and align: bytes of one element, by family; of a pointer 8."""

    type: str
    name: str
    dims: list[str]
    pointer: bool = False
    # the only family that has it, 0: both
    only: int = 0
    # in a union that has a later member
    hidden: bool = False
    # the place among the members of the first one of its union, -1: it is in none
    union: int = -1


@dataclass
class Struct:
    """A struct and its members, those of unions and structs without a name among them."""

    name: str
    fields: list[Field] = field(default_factory=list)


@dataclass
class Form:
    """What a match says by its kind: its fields, each with its byte in match_t, its type and its unit."""

    name: str
    fields: dict[str, tuple[int, str, str]]


@dataclass
class Kind:
    """A kind of match: the forms of its words, more than one where the slot in front decides, and its options."""

    name: str
    forms: list[Form]
    options: str


@dataclass
class Enum:
    """Names and values of one kind of code, with the comment in front of it."""

    name: str
    doc: str
    values: dict[str, int] = field(default_factory=dict)


class Headers:
    """What codes.h and types.h declare."""

    def __init__(self, codes: str, types: str) -> None:
        self.numbers: dict[str, int] = {}
        # defined for one family each, or by an expression of C
        self.opaque: list[str] = []
        self.unsigned: list[str] = []
        self.enums: list[Enum] = []
        self.structs: dict[str, Struct] = {}
        for text in (codes, types):
            self._defines(text)
            self._enums(text)
            self._structs(without_comments(text))
        self.kinds: list[Kind] = []
        if "match_t" in self.structs:
            self._kinds(codes, units(types))

    def _defines(self, text: str) -> None:
        family = False
        for line in without_comments(text).splitlines():
            if line.startswith(("#ifdef", "#else")):
                family = True
            elif line.startswith("#endif"):
                family = False
            m = re.match(r"#define (\w+) +(.+)", line)
            if not m or m[1].endswith("_H"):
                continue
            name, value = m[1], m[2].strip()
            if value.endswith("u"):
                self.unsigned.append(name)
                self.numbers[name] = int(value[:-1], 0)
            elif family or re.search(r"[a-z]{2}|FN_ADDR", value):
                if name not in self.opaque:
                    self.opaque.append(name)
            else:
                self.numbers[name] = self.number(value)

    def _enums(self, text: str) -> None:
        for doc, name, body in re.findall(r"(?:/\*((?:(?!\*/).)*)\*/\n)?enum (\w+) \{\n(.*?)\};", text, re.DOTALL):
            made = Enum(name, " ".join(doc.split()))
            for line in filter(None, map(str.strip, without_comments(body).splitlines())):
                m = re.fullmatch(r"(\w+) = ([^,]+),", line)
                assert m, f"{line}: a code is NAME = VALUE, with a comma"
                made.values[m[1]] = self.number(m[2])
            self.enums.append(made)

    def _structs(self, text: str) -> None:
        for body, name in re.findall(r"typedef struct \{(.*?)\n\} (\w+);", text, re.DOTALL):
            struct = self.structs[name] = Struct(name)
            only, depth = 0, []
            for line in map(str.strip, body.splitlines()):
                if line.startswith("#"):
                    only = {"#ifdef FN_IPV6": 6, "#ifndef FN_IPV6": 4}.get(line, 0)
                elif line in ("union {", "struct {"):
                    depth.append((line.split()[0], len(struct.fields)))
                elif line == "};":
                    depth.pop()
                elif line:
                    if depth and depth[-1][0] == "union":
                        self._hide(struct, depth[-1][1])
                    elif len(depth) > 1:
                        self._hide(struct, depth[-2][1], depth[-1][1])
                    members = self._members(line.removesuffix(";"), only)
                    for member in members if depth else []:
                        member.union = next(at for kind, at in depth if kind == "union")
                    struct.fields += members

    @staticmethod
    def _hide(struct: Struct, start: int, end: int | None = None) -> None:
        for member in struct.fields[start:end]:
            member.hidden = True

    def _members(self, line: str, only: int) -> list[Field]:
        m = re.fullmatch(r"((?:const )?\w+) (.+)", line)
        assert m, f"{line}: not one of the forms of make_layout.py"
        found = []
        for part in m[2].split(", "):
            name = re.fullmatch(r"(\*?)(\w+)((?:\[[^\]]+\])*)", part)
            assert name, f"{line}: not one of the forms of make_layout.py"
            found.append(Field(m[1], name[2], re.findall(r"\[([^\]]+)\]", name[3]), bool(name[1]), only))
        return found

    def _kinds(self, codes: str, said: dict[str, dict[str, str]]) -> None:
        """Read which form each kind of match has; said: the units of the fields of each struct."""
        body = re.search(r"enum match_kind \{\n(.*?)\};", codes, re.DOTALL)
        for line in body[1].splitlines() if body else []:
            m = re.fullmatch(r" +(\w+) = \d+, +/\* ([\w, ]+?)(?: \+ (\w+))?: (.+) \*/", line)
            assert m, f"{line}: a kind of match is NAME = CODE, /* FORM: OPTION */, or FORM + FIELD"
            self.kinds.append(Kind(m[1], [self._form(name, m[3], said) for name in m[2].split(", ")], m[4]))

    def _form(self, name: str, beside: str | None, said: dict[str, dict[str, str]]) -> Form:
        """Return a form; beside: the 16-bit field of match_t that it uses, too."""
        match = self.structs["match_t"]
        fields = {}
        for member in [f for f in match.fields if f.name in (name, beside)]:
            at = self.start(match, member, 4)
            if not member.type.endswith(FORM):
                fields[member.name] = (at, member.type, said["match_t"][member.name])
                continue
            for n, place in self.placed(match, member, 4).items():
                fields[n] = (*place, said[member.type][n])
        assert fields and (beside is None or beside in fields), f"{name}: no form of match_t"
        assert all(unit for _, _, unit in fields.values()), f"{name}: a field has no unit"
        return Form(name, fields)

    def forms(self, struct: Struct) -> list[Field]:
        """Return the members of a struct that are forms."""
        return [f for f in struct.fields if f.type.endswith(FORM)]

    def placed(self, struct: Struct, form: Field, family: int) -> dict[str, tuple[int, str]]:
        """Return where in a struct the fields of one of its forms lie, and their types."""
        at = self.start(struct, form, family)
        inner = self.layout(self.structs[form.type], family)[0]
        return {f.name: (at + there, f.type) for f, there in inner if f.name != "pad"}

    def start(self, struct: Struct, f: Field, family: int) -> int:
        """Return where a member lies that may be hidden: each member of a union begins where the union does."""
        at = {id(g): there for g, there in self.layout(struct, family)[0]}
        return at[id(f)] if id(f) in at else min(at[id(g)] for g in struct.fields if g.union == f.union and id(g) in at)

    def number(self, text: str) -> int:
        """Return the value of an expression over numbers and names that are known."""
        for name in re.findall(r"\b[A-Za-z_]\w*", text):
            text = re.sub(rf"\b{name}\b", str(self.numbers[name]), text)
        assert re.fullmatch(r"[0-9a-fx()+*/<| -]+", text), text
        return int(eval(text.replace("/", "//"), {"__builtins__": {}}))

    def size(self, f: Field, family: int) -> tuple[int, int]:
        """Return bytes and alignment of one element."""
        if f.pointer:
            return 8, 8
        if f.type == "addr_t":
            return ADDRESS[family]
        if f.type in INTEGERS:
            return INTEGERS[f.type], INTEGERS[f.type]
        inner, total = self.layout(self.structs[f.type], family)
        return total, max((self.size(g, family)[1] for g, _ in inner), default=1)

    def layout(self, struct: Struct, family: int) -> tuple[list[tuple[Field, int]], int]:
        """Return the members that Python sees with their offsets, and the size of the struct."""
        at, widest, placed = 0, 1, []
        entered = {-1}
        for f in struct.fields:
            if f.hidden or f.only not in (0, family):
                continue
            size, align = self.size(f, family)
            if f.union not in entered:
                # a union lies as the widest of its members asks for
                entered.add(f.union)
                align = max(self.size(g, family)[1] for g in struct.fields if g.union == f.union)
            at = -(-at // align) * align
            placed.append((f, at))
            at += math.prod((size, *map(self.number, f.dims)))
            widest = max(widest, align)
        return placed, -(-at // widest) * widest

    def shown(self) -> list[Struct]:
        """Return the structs that are NumPy's, too: without a pointer, no byte without a field, and no forms."""
        found = []
        for struct in self.structs.values():
            flat = all(map(self.numbered, struct.fields))
            full = flat and all(self.full(struct, family) for family in ADDRESS)
            if full and struct.name not in ("sctp_t", "memo_reach_t") and not struct.name.endswith(FORM):
                found.append(struct)
        return found

    def numbered(self, f: Field) -> bool:
        """Tell whether a member is an integer, an address, or a struct of those."""
        inner = self.structs.get(f.type, Struct("")).fields
        plain = f.type in INTEGERS or f.type == "addr_t"
        return not f.pointer and (plain or (bool(inner) and all(map(self.numbered, inner))))

    def full(self, struct: Struct, family: int) -> bool:
        """Tell whether the members follow each other without a gap."""
        end = 0
        placed, total = self.layout(struct, family)
        for f, at in placed:
            if at != end:
                return False
            end += math.prod((self.size(f, family)[0], *map(self.number, f.dims)))
        return end == total


def units(types: str) -> dict[str, dict[str, str]]:
    """Return what stands behind the fields of each struct, by their names."""
    found: dict[str, dict[str, str]] = {}
    for body, name in re.findall(r"typedef struct \{((?:(?!typedef).)*?)\n\} (\w+);", types, re.DOTALL):
        found[name] = {}
        for names, unit in re.findall(r"^ +\w+ ([\w, ]+);(?: +/\* (.*?) \*/)?$", body, re.MULTILINE):
            found[name] |= dict.fromkeys(names.split(", "), unit)
    return found


def without_comments(text: str) -> str:
    """Return C without what stands in comments."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def record_name(struct: Struct) -> str:
    """Return the name that Python gives a record: CONN for conn_t."""
    return struct.name.removesuffix("_t").upper()


def class_name(enum: Enum) -> str:
    """Return CtInfo for ct_info."""
    return "".join(word.capitalize() for word in enum.name.split("_"))


def members_of(enum: Enum) -> dict[str, int]:
    """Return the names of an enum without what all of them begin with."""
    names = list(enum.values)
    prefix = names[0]
    while not all(n.startswith(prefix) for n in names) or not prefix.endswith("_"):
        prefix = prefix[:-1]
        if not prefix:
            break
    short = {n.removeprefix(prefix): v for n, v in enum.values.items()}
    return short if all(n.isidentifier() for n in short) else dict(enum.values)


CYTHON = """# {made}.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "types.h" nogil:
    enum:
{numbers}
{unsigned}
{enums}
    # 128 bits wide in the build for IPv6: an address is only ever kept in an addr_t
    ctypedef uint32_t addr_t
{structs}

{functions}"""

PYTHON = '''"""Codes and records as codes.h and types.h have them.

{made}.
"""

from __future__ import annotations

from enum import EnumMeta, IntEnum
from typing import NamedTuple

{numbers}


class CodeMeta(EnumMeta):
    """Enumerations that NumPy may compare with arrays.

    It asks a class for __array_ufunc__ and the like and takes every exception as a no. EnumMeta of Python 3.11 looks
    for them in Python, and a Ctrl-C at that moment was lost; type looks in C.
    """

    __getattr__ = type.__getattribute__
{enums}


class Form(NamedTuple):
    """One meaning of the same bytes: its fields, each with the byte where it begins and its NumPy type."""

    name: str
    fields: dict[str, tuple[int, str]]


# what else TARGET may hold, by family and form: bytes and types of its fields
TARGET_FORMS: dict[int, dict[str, Form]] = {{
{target_forms}
}}
# the forms of each kind of match; more than one where the slot in front decides
MATCH_FORMS: dict[MatchKind, tuple[Form, ...]] = {{
{forms}
}}

# the members of each record: name; "addr" for an address of the family, else a record or a NumPy type; shape; the only
# family that has it, 0: both
RECORDS: dict[str, list[tuple[str, str, tuple[int, ...], int]]] = {{
{records}
}}
'''

COMPILED = """/* {made}. */
#ifndef FASTNAT_LAYOUT_H
#define FASTNAT_LAYOUT_H
#include "types.h"

{asserts}

typedef struct {{ const char *name; size_t at, size; }} array_place_t;
static const array_place_t fn_arrays[] = {{
{arrays}
}};
#define FN_ARRAYS {n_arrays}

#endif
"""


RULES = """# The matches of a compiled rule

<!-- {made}. -->
`fastnat/rules/compiler.py` turns each match of a rule into a `match_t` of 16 bytes, which
`fastnat/core/rules/match.pxd` asks of every packet: a kind, whether it is inverted, and up to three words whose
meaning the kind decides. The compiler writes those words by the names below, the core reads them as `m.FORM.FIELD`;
`core/layout.py` has the same table as `MATCH_FORMS`. A field of 16 bits (`n_ports`, `n_listed`, `bits`) lies beside
the words, and is read as `m.FIELD`.

| kind | option | form | fields and their units |
|---|---|---|---|
{rows}
"""


def lines(items: Iterable[str]) -> str:
    """Return them one below the other."""
    return "\n".join(items)


def cython(h: Headers) -> str:
    """Return types.pxd."""
    structs = []
    for struct in h.structs.values():
        structs += ["", f"    ctypedef struct {struct.name}:"]
        for f in struct.fields:
            dims = "".join(f"[{h.number(d)}]" for d in f.dims)
            structs += [f"        {f.type} {'*' * f.pointer}{f.name}{dims}"] if not f.only else []
    return CYTHON.format(
        made=MADE, functions=FUNCTIONS.read_text(), structs=lines(structs),
        numbers=lines(f"        {n}" for n in [*h.opaque, *(n for n in h.numbers if n not in h.unsigned)]),
        unsigned=lines(f"    const uint32_t {n}" for n in h.unsigned),
        enums=lines(lines(["    enum:", *(f"        {n}" for n in enum.values)]) for enum in h.enums),
    )  # fmt: skip


def shown_form(name: str, fields: dict[str, tuple[int, str]]) -> str:
    """Return a form as Python writes it, a field a line."""
    inner = lines(f'            "{n}": ({at}, "{kind.removesuffix("_t")}"),' for n, (at, kind) in fields.items())
    return f'Form("{name}", {{\n{inner}\n        }})'


def python(h: Headers) -> str:
    """Return layout.py."""
    enums = []
    for enum in h.enums:
        doc = (enum.doc or f"enum {enum.name} of codes.h").rstrip(".")
        doc = doc if re.match(r"enum|\w*[_.]", doc) else doc[:1].upper() + doc[1:]
        enums += ["", "", f"class {class_name(enum)}(IntEnum, metaclass=CodeMeta):", f'    """{doc}."""', ""]
        enums += [f"    {n} = {v}" for n, v in members_of(enum).items()]
    records = []
    for struct in h.shown():
        records.append(f'    "{record_name(struct)}": [')
        for f in struct.fields:
            kind = "addr" if f.type == "addr_t" else f.type.removesuffix("_t")
            kind = kind.upper() if f.type in h.structs else kind
            shape = tuple(h.number(d) for d in f.dims)
            records += [f'        ("{f.name}", "{kind}", {shape}, {f.only}),'] if not f.hidden else []
        records.append("    ],")
    target = h.structs["target_t"]
    targets = []
    for family in ADDRESS:
        placed = {f.name: h.placed(target, f, family) for f in h.forms(target)}
        targets += [f"    {family}: {{", *(f'        "{n}": {shown_form(n, p)},' for n, p in placed.items()), "    },"]
    forms = []
    for match in h.kinds:
        plain = {form.name: {n: (at, type_) for n, (at, type_, _) in form.fields.items()} for form in match.forms}
        forms += [f"    MatchKind.{match.name.removeprefix('MATCH_')}: ("]
        forms += [*(f"        {shown_form(n, p)}," for n, p in plain.items()), "    ),"]
    return PYTHON.format(
        made=MADE, enums=lines(enums), records=lines(records), forms=lines(forms), target_forms=lines(targets),
        numbers=lines(f"{n} = {v}" for n, v in h.numbers.items()),
    )  # fmt: skip


def confirmed(what: str, values: dict[int, int]) -> str:
    """Return the assert of a size or an offset, by family; a member that one family lacks is asked for in the other."""
    if len(values) == 2:
        value = f"{values[4]}" if values[4] == values[6] else f"(FN_V6 ? {values[6]} : {values[4]})"
        return f'static_assert({what} == {value}, "{what}");'
    ((family, only),) = values.items()
    return f'#if {"" if family == 6 else "!"}FN_V6\nstatic_assert({what} == {only}, "{what}");\n#endif'


def compiled(h: Headers) -> str:
    """Return layout.h: what the compiler is to confirm, and where engine_t keeps the arrays."""
    asserts = []
    for struct in h.shown():
        sizes: dict[int, int] = {}
        offsets: dict[str, dict[int, int]] = {}
        for family in ADDRESS:
            placed, sizes[family] = h.layout(struct, family)
            for f, at in placed:
                offsets.setdefault(f.name, {})[family] = at
        for form in h.forms(struct):
            for family in ADDRESS:
                for name, (at, _) in h.placed(struct, form, family).items():
                    offsets.setdefault(f"{form.name}.{name}", {})[family] = at
        asserts.append(confirmed(f"sizeof({struct.name})", sizes))
        asserts += [confirmed(f"offsetof({struct.name}, {name})", at) for name, at in offsets.items()]
    rows = []
    for f in h.structs["engine_t"].fields:
        if f.type == "table_t":
            rows.append((f.name, f"{f.name}.buckets", "bucket_t"))
        elif f.pointer and f.dims:
            rows += [(f"{f.name}{n}", f"{f.name}[{n}]", f.type) for n in range(h.number(f.dims[0]))]
        elif f.pointer:
            rows.append((f.name, f.name, f.type))
    arrays = lines(f'    {{"{name}", offsetof(engine_t, {member}), sizeof({kind})}},' for name, member, kind in rows)
    return COMPILED.format(
        made=MADE, asserts=lines(asserts), arrays=arrays, n_arrays=len(rows)
    )  # fmt: skip


def page(h: Headers) -> str:
    """Return docs/rules.md."""
    rows = []
    for kind in h.kinds:
        for form in kind.forms:
            said: dict[str, list[str]] = {}
            for name, (_, _, unit) in form.fields.items():
                said.setdefault(unit, []).append(f"`{name}`")
            fields = "; ".join(f"{', '.join(names)}: {unit}" for unit, names in said.items())
            rows.append(f"| {kind.name.removeprefix('MATCH_')} | {kind.options} | `{form.name}` | {fields} |")
    return RULES.format(made=MADE, rows=lines(rows))


def made(codes: str, types: str) -> dict[str, str]:
    """Return the three files by name."""
    h = Headers(codes, types)
    return {"types.pxd": cython(h), "layout.py": python(h), "layout.h": compiled(h)}


def main() -> int:
    """Write the files, or with --check compare them."""
    stale = []
    headers = (HERE / "codes.h").read_text(), (HERE / "types.h").read_text()
    files = {HERE / name: text for name, text in made(*headers).items()} | {PAGE: page(Headers(*headers))}
    for path, text in files.items():
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path)
    for path in stale:
        print(f"{path.relative_to(HERE.parents[1])} is not what codes.h and types.h say: make layout")
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
