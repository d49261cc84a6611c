"""The words of a compiled match, written and read by the names that core/types.h gives them.

The kind of match decides what a word means: core/codes.h names the form of each kind, core/layout.py has it as
MATCH_FORMS, docs/rules.md shows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.layout import MATCH_FORMS, Form, MatchKind
from ..dtypes import MATCH

Row = tuple[int, ...]

# the columns of a row as the compiler collects it, by the byte of MATCH where they begin
COLUMNS = {at: MATCH.names.index(name) for name, (_, at, *_) in (MATCH.fields or {}).items() if MATCH.names}
NO_MATCH: Row = (0,) * len(COLUMNS)
FORMS = {form.name: form for forms in MATCH_FORMS.values() for form in forms}


def columns(form: Form) -> dict[str, int]:
    """Return the column of each field of a form."""
    return {name: COLUMNS[at] for name, (at, _) in form.fields.items()}


# for the kinds that have one form
PLACES = {kind: columns(forms[0]) for kind, forms in MATCH_FORMS.items() if len(forms) == 1}
SECOND = {form.name: columns(form) for form in MATCH_FORMS[MatchKind.MORE]}
# match_t.need, one of the fields that share its 16 bits
NEED = COLUMNS[2]


def _row(kind: MatchKind, invert: int, places: dict[str, int], said: dict[str, int]) -> Row:
    if said.keys() != places.keys():
        raise TypeError(f"a match {kind.name} says {', '.join(places)}, not {', '.join(said) or 'nothing'}")
    row = [int(kind), invert, *NO_MATCH[2:]]
    for name, value in said.items():
        row[places[name]] = value
    return tuple(row)


def match_row(kind: MatchKind, invert: int = 0, /, **said: int) -> Row:
    """Return a row of MATCH; said: all fields of the kind's form, by name. TypeError for other names."""
    return _row(kind, invert, PLACES[kind], said)


def second_row(form: str, /, **said: int) -> Row:
    """Return the second row of a match that takes two; form: limit_more or recent_more."""
    return _row(MatchKind.MORE, 0, SECOND[form], said)


def row_of(kind: MatchKind, invert: int, values: Row) -> Row:
    """Return the row of a match whose values are all fields of its form, in their order."""
    places = PLACES[kind]
    if len(values) != len(places):
        raise TypeError(f"a match {kind.name} says {', '.join(places)}, not {len(values)} numbers")
    row = [int(kind), invert, *NO_MATCH[2:]]
    for place, value in zip(places.values(), values, strict=True):
        row[place] = value
    return tuple(row)


def with_need(row: Row, need: int) -> Row:
    """Return the row of a rule's only match, with the bytes of l4 header that it needs."""
    return (*row[:NEED], need, *row[NEED + 1 :])


def view_of(array: NDArray[np.void], form: Form) -> NDArray[np.void]:
    """Return the same memory with the fields of a form; records of another kind hold anything there."""
    fields = form.fields.items()
    return array.view(
        np.dtype(
            {
                "names": [name for name, _ in fields],
                "formats": [kind for _, (_, kind) in fields],
                "offsets": [at for _, (at, _) in fields],
                "itemsize": array.itemsize,
            }
        )
    )
