"""Tests of IPv4 once more, over IPv6: over_ipv6.py translates what they say and hear.

Left out is what asks for something that IPv6 has not, or that the translation does not know.
"""

import functools
import re

import pytest
from behaviour import (
    test_accounting,
    test_behaviour,
    test_engine,
    test_events,
    test_frames,
    test_group,
    test_helpers,
    test_ipvs,
    test_matches,
    test_nftables,
    test_nftables_state,
    test_nftables_timeouts,
    test_nothing_lost,
    test_packets,
    test_races,
    test_recorded,
    test_remember,
    test_runs_of_rules,
    test_sctp_profiles,
    test_sound,
    test_trace,
    test_vectors,
)
from behaviour.over_ipv6 import Patched

# module: its tests that are of IPv4 alone, or of both families already
CHOSEN = {
    test_accounting: ("test_half_an_account_is_refused",),
    test_behaviour: (
        "test_every_cell_of_the_tcp_table", "test_every_combination_of_tcp_flags", "test_default_timeouts",
        "test_every_timeout_has_its_sysctl", "test_each_family_has_its_icmp_timeout",
        "test_the_source_address_zero_is_not_masqueraded", "test_a_preferred_source_is_no_matter_to_masquerade",
        "test_a_connection_from_before_the_nat_table_is_never_translated", "test_the_policy_counts_what_reaches_it",
        "test_a_state_of_nothing_is_invalid_or_untracked", "test_the_newest_ipv6_address_wins_a_tie",
        "test_the_lowest_thousand_ports_are_drawn_twice_as_often", "test_half_of_all_packets_by_chance",
    ),
    test_engine: ("test_broken_packets_are_verdicts", "test_bitmap_and_probing_give_the_same_ports_over_ipv6"),
    test_events: ("test_stats_line", "test_the_file_of_proc"),
    test_frames: (
        "test_nat_does_not_change_who_sent_a_packet", "test_the_frame_goes_before_the_neighbours",
        "test_frames_of_captures_are_those_of_their_packets", "test_egress_sees_the_frame_that_leaves",
        "test_a_chain_at_a_device_asks_for_the_family_that_its_rule_names",
    ),
    test_group: ("test_what_cannot_be_is_named", "test_ipv6_flows_are_spread_and_come_home"),
    test_helpers: (
        "test_linux_54_counts_up_to_a_port_nobody_expects", "test_what_is_refused",
        # who forwards cuts no datagram of IPv6
        "test_a_datagram_becomes_as_long_as_a_datagram_can_be_and_no_longer",
        # the helper of PPTP is of IPv4 alone
        "test_a_tunnel_ends_with_its_control_connection", "test_the_half_of_a_tunnel_that_is_left_behind_nat",
        "test_a_second_call_while_the_first_is_not_over_has_no_tunnel", "test_a_node_that_calls_itself",
    ),
    test_ipvs: (
        "test_ipv6_services_are_translated_too", "test_the_listing_and_ipv6",
        "test_bad_text_is_named_with_its_line", "test_127_0_0_1_stays_on_the_node",
        "test_policy_rules_see_only_the_server",
    ),
    test_matches: (
        "test_what_goes_round_by_lo_is_for_one_host_whatever_its_address",
        "test_an_engine_without_a_date_refuses_rules_that_ask_for_it",
        "test_connlimit_forgets_what_is_over_when_it_has_no_room", "test_assured_connections_and_connlimit",
        # with the mask of 32 bits they are one client
        "test_connlimit_forgets_clients_that_come_no_more",
    ),
    test_nftables: (
        "test_a_forwarded_packet_has_the_priority_of_the_tos_with_which_it_enters_forward",
        "test_one_table_for_both_families", "test_redirect_goes_to_the_interface_that_the_packet_came_in_by",
        "test_nat_of_the_other_family_says_nothing_and_the_rule_goes_on", "test_a_nat_chain_sees_first_packets_alone",
        "test_named_counters_quotas_and_maps_of_them", "test_what_cannot_be_decided_is_refused_with_its_place",
        "test_the_listing_after_packets_has_counters_quotas_and_elements", "test_the_largest_size_of_a_set_is_taken",
        "test_rules_that_iptables_made_run_once",
        "test_a_field_of_some_types_of_icmp_asks_for_the_type", "test_a_broken_option_is_missing",
        "test_an_extension_header_asks_for_its_family_in_front_of_the_rule",
        "test_only_chains_of_type_route_route_own_packets_anew",
        "test_helpers_are_given_to_new_connections_of_their_protocol", "test_what_rules_write_into_packets",
        "test_a_proxy_has_what_rules_give_it_if_the_route_leads_to_the_node",
        "test_a_forwarded_packet_has_the_priority_of_the_tos_with_which_it_enters_forward",
        "test_groups_kinds_and_types_of_interfaces", "test_headers_alone_have_the_bytes_of_their_packet",
    ),
    test_nftables_state: (
        "test_a_damaged_file_is_refused", "test_sets_and_objects_stay_unless_the_text_deletes_their_table",
        "test_what_a_rule_names_has_to_be_there_though_nothing_leads_to_it",
        "test_an_update_without_a_time_ends_an_element_that_has_one",
        "test_statements_that_differ_from_rule_to_rule_are_refused",
        "test_base_chains_keep_their_order_where_rules_are_saved_as_text",
    ),
    test_nftables_timeouts: (
        "test_saved_forked_and_remembered_engines_go_on_alike",
        "test_the_protocol_of_layer_3_that_an_object_names_decides_nothing",
        "test_what_commands_do_to_connections_with_a_policy",
        "test_policies_that_nft_refuses",
        "test_a_file_that_names_a_policy_that_is_not_there_is_refused",
    ),
    test_nothing_lost: (
        "test_a_call_that_is_refused_changes_nothing_in_either_family",
        "test_a_group_that_refuses_a_batch_changes_nothing_in_any_shard",
        "test_a_state_saved_beside_another_thread_s_work_can_be_restored",
    ),
    test_packets: (
        "test_a_header_is_as_long_as_it_says_and_no_longer_than_the_packet",
        "test_a_payload_of_ipv6_is_as_long_as_the_header_says", "test_a_checksum_that_becomes_zero",
    ),
    test_races: ("test_hidden_connection_translates_replies_for_one_second",),
    test_recorded: ("test_every_case_is_recorded",),
    test_remember: (),
    test_runs_of_rules: ("test_datagrams", "test_every_kind_of_run_is_looked_up"),
    test_sctp_profiles: (),
    test_sound: (
        # of rules, processes and threads; the others craft bytes or tuples of IPv4, or are of both families
        "test_chains_nest_as_deep_as_they_like", "test_depth_is_the_longest_way_over_all_callers",
        "test_a_walk_that_doubles_at_every_level_ends_with_a_reason", "test_loops_are_still_refused",
        "test_a_thread_with_a_small_stack", "test_two_threads_on_one_engine",
        "test_ctrl_c_stops_between_two_packets", "test_a_signal_handler_cannot_run_the_engine_it_interrupts",
        "test_an_announced_connection_that_begins_invalid", "test_an_announced_tftp_connection_that_begins_invalid",
        "test_a_fork_does_not_look_at_the_node", "test_arrays_that_share_memory_are_refused",
        "test_a_port_search_that_evicts_connections_of_its_own_source",
    ),
    # 127.0.0.9 stands for an address that is no martian
    test_trace: (
        "test_command", "test_ends_have_ports_as_everywhere", "test_where_a_packet_is_dropped_that_no_hook_drops",
    ),
    test_vectors: (
        "test_vector", "test_vector_of_a_profile", "test_state", "test_state_of_a_profile",
        "test_44_which_of_several_addresses", "test_45_to_47_an_out_device_without_address",
        "test_99_104_errors_count", "test_106_a_redirect_of_a_translated_flow_is_dropped", "test_145_rules_count_flows",
        "test_124_the_zone_is_part_of_the_choice_of_an_address",
    ),
}  # fmt: skip
# rows of tables that ask for fields of IPv4; recordings of IPv6, or of what lengths, masks or a hash decide
ROWS = re.compile(
    r"\bip (length|version|hdrlength)\b|nfproto|l3proto|rt ip|icmp type|@nh,96|"
    r"/(v6_.*|address_range|byte_rates|connbytes|connlimit|cut|hashlimit|persistent|quota|segment_sizes|set_masks|sets|templates)\.json"
)

# what takes longest and counts or compares what steps of both families share: `make test` asks it over IPv4
LONG = {
    "test_a_window_of_a_hundred_ports_may_miss_some", "test_bitmaps_change_no_answer_however_little_memory_they_have",
    "test_bitmaps_know_which_owners_give_way", "test_engines_in_threads_do_not_disturb_each_other",
    "test_fetching_services_ahead_changes_no_answer", "test_no_answer_depends_on_the_key",
    "test_no_connection_is_refused_for_want_of_a_table_slot", "test_random_packets_and_a_model",
    "test_ten_thousand_services_cost_as_many_rules_as_ten", "test_two_threads_on_one_group",
}  # fmt: skip

group, nat = test_group.group, test_helpers.nat
# what FTP says in place of PORT; the kernel writes an address of IPv6 in full
EPRT = {
    "PORT": b"EPRT |2|fd00::af4:107|40000|\r\n",
    "MANGLED": b"EPRT |2|fd00:0000:0000:0000:0000:0000:c633:640a|40000|\r\n",
}


@pytest.fixture(autouse=True)
def over_ipv6(monkeypatch):
    for name, text in EPRT.items():
        monkeypatch.setattr(test_helpers, name, text)
    return Patched(monkeypatch)


def translated(test):
    """Return a copy of a test without the rows that IPv6 has not."""

    @functools.wraps(test)
    def copy(*given, **named):
        return test(*given, **named)

    copy.pytestmark, one_of = [], 3
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            names, rows = mark.args
            mark = pytest.mark.parametrize(names, [r for r in rows if not ROWS.search(str(r))], **mark.kwargs).mark
        if mark.name == "one_of":
            one_of = mark.args[0]
        else:
            copy.pytestmark.append(mark)
    # other rows than of IPv4, where those are few; of one row that one
    if any(mark.name == "parametrize" and len(mark.args[1]) > 1 for mark in copy.pytestmark):
        copy.pytestmark.append(pytest.mark.one_of(one_of, 1).mark)
    if test.__name__ in LONG:
        copy.pytestmark.append(pytest.mark.again.mark)
    return copy


assert LONG <= {name for module in CHOSEN for name in vars(module)}
for module, not_these in CHOSEN.items():
    assert set(not_these) <= set(vars(module)), module
    for name, function in vars(module).items():
        if name.startswith("test_") and name not in not_these:
            globals()[f"{module.__name__.split('.')[-1]}_{name[5:]}"] = translated(function)
