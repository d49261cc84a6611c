"""Completion by the shell: what it completes --vary and --cloud with, and how bash asks.

bash takes "addresses=1:2" for five words, as "=" and ":" break words (COMP_WORDBREAKS); click would then complete the
last of them alone. Here the whole line is read, and the part of a word that bash has already is taken off the answer.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

from ..engine.settings import PROFILES
from ..exhaustion.factors import FACTORS
from ..exhaustion.plan import clouds
from ..exhaustion.workload import SPORTS

# values of factors that are words
WORDS = {"random-fully": ("on", "off"), "profile": tuple(PROFILES), "sport": SPORTS}

SOURCE = """
%(complete_func)s() {
    local IFS=$'\\n' reply kind value
    COMPREPLY=()
    for reply in $(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete $1); do
        IFS=',' read -r kind value <<<"$reply"
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done
    # more of the word is to come
    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


@add_completion_class
class Bash(BashComplete):
    """bash, with words that "=" and ":" are parts of."""

    source_template = SOURCE

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the cursor, and the beginning of the one that it stands in."""
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        return (words[:-1], words[-1]) if words and not line[-1:].isspace() else (words, "")

    def format_completion(self, item: CompletionItem) -> str:
        """Return an answer without what stands before the last character that breaks words."""
        word = self.get_completion_args()[1]
        known = max(word.rfind(c) for c in os.environ.get("COMP_WORDBREAKS", "=:") or "=") + 1
        return f"{item.type},{item.value[known:] if item.value.startswith(word[:known]) else item.value}"


def complete_clouds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of clouds, and what --cloud takes beside them."""
    known = {"all": "compare them", "list": "what is known of each", **{c.name: c.title for c in clouds().values()}}
    return [CompletionItem(name, help=said) for name, said in known.items() if name.startswith(incomplete)]


def complete_factors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return factors that are not given yet, or the values of the last one where these are words."""
    before, comma, last = incomplete.rpartition(",")
    name, equals, values = last.partition("=")
    if equals:
        there, colon, value = values.rpartition(":")
        head = f"{before}{comma}{name}={there}{colon}"
        known = [w for w in WORDS.get(name, ()) if w.startswith(value) and w not in there.split(":")]
        return [CompletionItem(f"{head}{w}") for w in known]
    given = {word.partition("=")[0] for word in before.split(",")}
    # a flag stands alone, others take values
    return [
        CompletionItem(f"{before}{comma}{f}{'' if f == 'random-fully' else '='}", help=FACTORS[f].form)
        for f in FACTORS
        if f.startswith(name) and f not in given
    ]
