"""The words of a compiled match: each kind has a form, whose names compiler, core and document share."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fastnat
from fastnat.core import make_layout
from fastnat.core.layout import MATCH_FORMS, TARGET_FORMS, Form, MatchKind
from fastnat.dtypes import MATCH, RECORDS4, RECORDS6
from fastnat.rules import forms

CORE = Path(fastnat.__file__).parent / "core"
HEADERS = (CORE / "codes.h").read_text(), (CORE / "types.h").read_text()
STEPS = "".join(re.sub(r"#[^\n]*", "", path.read_text()) for path in CORE.rglob("*.pxd") if path.name != "types.pxd")
PAGE = CORE.parents[1] / "docs/rules.md"


def test_every_kind_has_a_form_that_lies_in_the_record():
    assert set(MATCH_FORMS) == set(MatchKind)
    for kind, of_kind in MATCH_FORMS.items():
        assert of_kind, kind
        for form in of_kind:
            ends = [at + np.dtype(type_).itemsize for at, type_ in form.fields.values()]
            assert max(ends) <= MATCH.itemsize, (kind, form)
            assert len(set(form.fields.values())) == len(form.fields), (kind, form)


@pytest.mark.parametrize("kind", list(MatchKind), ids=lambda kind: kind.name)
def test_the_core_reads_every_field_of_a_form(kind):
    for form in MATCH_FORMS[kind]:
        for name, (at, _) in form.fields.items():
            named = rf"\.{name}\b" if at < 4 else rf"\.{form.name}\.{name}\b"
            assert re.search(named, STEPS), f"{form.name}.{name}"


def test_the_core_uses_no_word_without_its_name():
    assert not re.findall(r"\b(?:m|more|match)(?:\[\w+\])?\.(?:a|b|c|n)\b", STEPS)


def test_a_form_is_written_and_read_by_its_names():
    row = forms.match_row(MatchKind.ICMP_TYPE, 1, type=3, low=4, high=5)
    array = np.array([row], MATCH)
    assert (array["kind"][0], array["invert"][0]) == (MatchKind.ICMP_TYPE, 1)
    assert forms.view_of(array, MATCH_FORMS[MatchKind.ICMP_TYPE][0])[0].item() == (3, 4, 5)
    assert forms.row_of(MatchKind.ICMP_TYPE, 1, (3, 4, 5)) == row
    assert forms.match_row(MatchKind.MULTIPORT_SRC, n_ports=2, first=7)[2:4] == (2, 7)


@pytest.mark.parametrize("said", [{"low": 1}, {"low": 1, "hihg": 2}, {"low": 1, "high": 2, "end": 0}, {}])
def test_a_wrong_name_is_refused(said):
    with pytest.raises(TypeError, match=r"a match SPORT says low, high, not "):
        forms.match_row(MatchKind.SPORT, **said)


def test_a_wrong_number_of_values_is_refused():
    with pytest.raises(TypeError, match=r"a match TTL says low, high, not 3 numbers"):
        forms.row_of(MatchKind.TTL, 0, (1, 2, 3))


@pytest.mark.parametrize(("records", "family"), [(RECORDS4, 4), (RECORDS6, 6)])
def test_a_rate_lies_where_the_marks_of_other_targets_do(records, family):
    target = np.zeros(1, records.TARGET)
    rate: Form = TARGET_FORMS[family]["rate"]
    forms.view_of(target, rate)[0] = (1 << 40 | 5, 2**64 - 1)
    words = [int(target[name][0]) for name in ("value", "mask", "mask2", "op")]
    assert words == ([5, 1 << 8] if sys.byteorder == "little" else [1 << 8, 5]) + [2**32 - 1] * 2


def test_the_page_of_rules_is_what_the_headers_say():
    text = PAGE.read_text()
    assert text == make_layout.page(make_layout.Headers(*HEADERS)), "make layout"
    for kind in MatchKind:
        assert f"| {kind.name} |" in text


@pytest.mark.parametrize(("old", "new"), [
    ("/* ports: --sport */", "/* prots: --sport */"), ("/* ports: --sport */", ""),
    ("multiport + n_ports: --sports", "multiport + n_prots: --sports"),
])  # fmt: skip
def test_a_kind_without_a_form_is_noticed(old, new):
    assert old in HEADERS[0]
    with pytest.raises(AssertionError, match=r"(?i)form"):
        make_layout.Headers(HEADERS[0].replace(old, new), HEADERS[1])
