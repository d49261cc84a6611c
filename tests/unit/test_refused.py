"""docs/unsupported.md lists what rules are rejected for, with the reasons that the errors give."""

from pathlib import Path

import pytest

from fastnat import RuleError, iptables
from fastnat.iptables import refused
from fastnat.iptables.matches import KNOWN_MODULES
from fastnat.iptables.targets import TARGETS

PAGE = Path(__file__).parents[2] / "docs/unsupported.md"


def rows():
    named = [(f"-m {name}", why) for name, why in refused.MODULES.items()]
    named += [(f"-j {name}", why) for name, why in refused.TARGETS.items()]
    named += refused.OPTIONS.items()
    return "".join(f"| `{name}` | {why} |\n" for name, why in sorted(named, key=lambda row: row[0].lower()))


def test_the_page_lists_all_of_them():
    head, mark, table = PAGE.read_text().partition("|---|---|\n")
    assert table == rows(), "docs/unsupported.md: its rows are to be those of this test's rows()"
    assert head and mark


def test_what_is_known_is_not_refused():
    assert not KNOWN_MODULES & refused.MODULES.keys()
    assert not TARGETS & refused.TARGETS.keys()


@pytest.mark.parametrize(
    "said", [f"-m {name}" for name in refused.MODULES] + [f"-j {name}" for name in refused.TARGETS]
)
def test_the_error_gives_the_reason_and_lenient_loads_the_rest(said):
    why = {**refused.MODULES, **refused.TARGETS}[said.split()[1]]
    text = f"*filter\n-A INPUT {said} --any 5\n-A INPUT -j DROP\nCOMMIT\n"
    with pytest.raises(RuleError) as error:
        iptables.parse(text)
    assert why in str(error.value) and "--lenient" in str(error.value)
    rules = iptables.parse(text, lenient=True)
    assert len(rules.tables["filter"].chains["INPUT"].rules) == 2 and why in rules.warnings[0]
