"""The answers to seeded random rules and traffic are those that were kept; see answers.py."""

import json

import pytest
from behaviour import answers

KEPT = json.loads(answers.PATH.read_text())


def half(n):
    """Return numbers below n, half of the even and of the odd ones, which may be of IPv6, for `make slow` alone."""
    return [pytest.param(k, marks=pytest.mark.slow if k % 4 in (1, 2) else []) for k in range(n)]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", half(answers.CASES))
def test_random_cases_are_answered_as_before(seed):
    assert answers.case_answers(seed) == KEPT["cases"][seed]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", half(answers.TALKS))
def test_random_control_connections_are_answered_as_before(seed):
    assert answers.talk_answers(seed) == KEPT["talks"][seed]


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", half(answers.PROGRAMS))
def test_random_programs_are_answered_as_before(seed):
    found, kept = answers.program_answers(seed), KEPT["programs"][seed]
    differs = next((n for n, (a, b) in enumerate(zip(found, kept, strict=True)) if a != b), None)
    assert differs is None, f"the answer to call {differs} of the program is another one"


@pytest.mark.one_of(2)
@pytest.mark.parametrize("seed", half(answers.NFT))
def test_random_rules_of_nftables_are_answered_as_before(seed):
    assert answers.nft_answers(seed) == KEPT["nft"][seed]
