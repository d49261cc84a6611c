"""Tests of IPv4 once more, over IPv6: over_ipv6.py translates what they say and hear.

Left out is what asks for something that IPv6 has not, or that the translation does not know.
"""

import functools
import re

import pytest
from behaviour import (
    test_ipvs,
    test_matches,
    test_nftables,
    test_races,
    test_runs_of_rules,
)
from behaviour.over_ipv6 import Patched

# module: its tests that are of IPv4 alone, or of both families already
CHOSEN = {
    test_ipvs: (
        "test_a_service_of_a_firewall_mark", "test_ipv6_services_are_translated_too", "test_the_listing_and_ipv6",
        "test_bad_text_is_named_with_its_line",
    ),
    test_matches: (
        "test_an_engine_without_a_date_refuses_rules_that_ask_for_it",
        "test_an_owner_that_nobody_gave_is_root_and_is_told",
        "test_connlimit_forgets_what_is_over_when_it_has_no_room", "test_assured_connections_and_connlimit",
    ),
    test_nftables: (
        "test_one_table_for_both_families", "test_redirect_goes_to_the_interface_that_the_packet_came_in_by",
        "test_nat_of_the_other_family_says_nothing_and_the_rule_goes_on", "test_a_nat_chain_sees_first_packets_alone",
        "test_named_counters_quotas_and_maps_of_them", "test_what_cannot_be_decided_is_refused_with_its_place",
        "test_the_listing_after_packets_has_counters_quotas_and_elements", "test_the_largest_size_of_a_set_is_taken",
        "test_a_trace_shows_rules_of_both_languages_in_the_order_of_the_hooks",
        "test_rules_that_iptables_made_run_once",
        "test_a_field_of_some_types_of_icmp_asks_for_the_type", "test_a_broken_option_is_missing",
        "test_only_chains_of_type_route_route_own_packets_anew",
        "test_helpers_are_given_to_new_connections_of_their_protocol", "test_what_rules_write_into_packets",
        "test_a_proxy_has_what_rules_give_it_if_the_route_leads_to_the_node",
        "test_groups_kinds_and_types_of_interfaces", "test_headers_alone_have_the_bytes_of_their_packet",
    ),
    test_races: ("test_hidden_connection_translates_replies_for_one_second",),
    test_runs_of_rules: ("test_datagrams", "test_every_kind_of_run_is_looked_up"),
}  # fmt: skip
# rows of tables that ask for fields of IPv4
ROWS = re.compile(r"\bip (length|version|hdrlength)\b|nfproto|l3proto|rt ip|icmp type|@nh,96")


@pytest.fixture(autouse=True)
def over_ipv6(monkeypatch):
    return Patched(monkeypatch)


def translated(test):
    """Return a copy of a test without the rows that IPv6 has not."""

    @functools.wraps(test)
    def copy(*given, **named):
        return test(*given, **named)

    copy.pytestmark = []
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, rows = mark.args
            mark = pytest.mark.parametrize(names, [r for r in rows if not ROWS.search(str(r))], **mark.kwargs).mark
        copy.pytestmark.append(mark)
    return copy


for module, not_these in CHOSEN.items():
    assert set(not_these) <= set(vars(module)), module
    for name, function in vars(module).items():
        if name.startswith("test_") and name not in not_these:
            globals()[f"{module.__name__.split('.')[-1]}_{name[5:]}"] = translated(function)
