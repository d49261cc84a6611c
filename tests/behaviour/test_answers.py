"""The answers to seeded random rules and traffic are those that were kept; see answers.py."""

import json

import pytest
from behaviour import answers

KEPT = json.loads(answers.PATH.read_text())


@pytest.mark.parametrize("seed", range(answers.CASES))
def test_random_cases_are_answered_as_before(seed):
    assert answers.case_answers(seed) == KEPT["cases"][seed]


@pytest.mark.parametrize("seed", range(answers.TALKS))
def test_random_control_connections_are_answered_as_before(seed):
    assert answers.talk_answers(seed) == KEPT["talks"][seed]


@pytest.mark.parametrize("seed", range(answers.PROGRAMS))
def test_random_programs_are_answered_as_before(seed):
    found, kept = answers.program_answers(seed), KEPT["programs"][seed]
    differs = next((n for n, (a, b) in enumerate(zip(found, kept, strict=True)) if a != b), None)
    assert differs is None, f"the answer to call {differs} of the program is another one"


@pytest.mark.parametrize("seed", range(answers.NFT))
def test_random_rules_of_nftables_are_answered_as_before(seed):
    assert answers.nft_answers(seed) == KEPT["nft"][seed]
