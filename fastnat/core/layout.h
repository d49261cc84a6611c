/* Made by make_layout.py; change codes.h or types.h and run `make layout`. */
#ifndef FASTNAT_LAYOUT_H
#define FASTNAT_LAYOUT_H
#include "types.h"

static_assert(sizeof(tuple_t) == (FN_V6 ? 40 : 16), "sizeof(tuple_t)");
static_assert(offsetof(tuple_t, src) == 0, "offsetof(tuple_t, src)");
static_assert(offsetof(tuple_t, dst) == (FN_V6 ? 16 : 4), "offsetof(tuple_t, dst)");
static_assert(offsetof(tuple_t, sport) == (FN_V6 ? 32 : 8), "offsetof(tuple_t, sport)");
static_assert(offsetof(tuple_t, dport) == (FN_V6 ? 34 : 10), "offsetof(tuple_t, dport)");
static_assert(offsetof(tuple_t, proto) == (FN_V6 ? 36 : 12), "offsetof(tuple_t, proto)");
static_assert(offsetof(tuple_t, pad) == (FN_V6 ? 37 : 13), "offsetof(tuple_t, pad)");
static_assert(offsetof(tuple_t, zone) == (FN_V6 ? 38 : 14), "offsetof(tuple_t, zone)");
static_assert(sizeof(conn_t) == (FN_V6 ? 112 : 64), "sizeof(conn_t)");
static_assert(offsetof(conn_t, tuples) == 0, "offsetof(conn_t, tuples)");
static_assert(offsetof(conn_t, timeout) == (FN_V6 ? 80 : 32), "offsetof(conn_t, timeout)");
static_assert(offsetof(conn_t, wheel_pos) == (FN_V6 ? 84 : 36), "offsetof(conn_t, wheel_pos)");
static_assert(offsetof(conn_t, bysource_next) == (FN_V6 ? 88 : 40), "offsetof(conn_t, bysource_next)");
static_assert(offsetof(conn_t, bysource_prev) == (FN_V6 ? 92 : 44), "offsetof(conn_t, bysource_prev)");
static_assert(offsetof(conn_t, stream_ts) == (FN_V6 ? 96 : 48), "offsetof(conn_t, stream_ts)");
static_assert(offsetof(conn_t, routes) == (FN_V6 ? 100 : 52), "offsetof(conn_t, routes)");
static_assert(offsetof(conn_t, masq_iface) == (FN_V6 ? 104 : 56), "offsetof(conn_t, masq_iface)");
static_assert(offsetof(conn_t, zone) == (FN_V6 ? 106 : 58), "offsetof(conn_t, zone)");
static_assert(offsetof(conn_t, status) == (FN_V6 ? 108 : 60), "offsetof(conn_t, status)");
static_assert(offsetof(conn_t, state) == (FN_V6 ? 110 : 62), "offsetof(conn_t, state)");
static_assert(offsetof(conn_t, flags) == (FN_V6 ? 111 : 63), "offsetof(conn_t, flags)");
static_assert(sizeof(tcp_t) == 64, "sizeof(tcp_t)");
static_assert(offsetof(tcp_t, td_end) == 0, "offsetof(tcp_t, td_end)");
static_assert(offsetof(tcp_t, td_maxend) == 8, "offsetof(tcp_t, td_maxend)");
static_assert(offsetof(tcp_t, td_maxwin) == 16, "offsetof(tcp_t, td_maxwin)");
static_assert(offsetof(tcp_t, td_maxack) == 24, "offsetof(tcp_t, td_maxack)");
static_assert(offsetof(tcp_t, scale) == 32, "offsetof(tcp_t, scale)");
static_assert(offsetof(tcp_t, flags) == 34, "offsetof(tcp_t, flags)");
static_assert(offsetof(tcp_t, last_dir) == 36, "offsetof(tcp_t, last_dir)");
static_assert(offsetof(tcp_t, last_index) == 37, "offsetof(tcp_t, last_index)");
static_assert(offsetof(tcp_t, retrans) == 38, "offsetof(tcp_t, retrans)");
static_assert(offsetof(tcp_t, last_wscale) == 39, "offsetof(tcp_t, last_wscale)");
static_assert(offsetof(tcp_t, last_seq) == 40, "offsetof(tcp_t, last_seq)");
static_assert(offsetof(tcp_t, last_ack) == 44, "offsetof(tcp_t, last_ack)");
static_assert(offsetof(tcp_t, last_end) == 48, "offsetof(tcp_t, last_end)");
static_assert(offsetof(tcp_t, last_win) == 52, "offsetof(tcp_t, last_win)");
static_assert(offsetof(tcp_t, last_flags) == 54, "offsetof(tcp_t, last_flags)");
static_assert(offsetof(tcp_t, policy) == 55, "offsetof(tcp_t, policy)");
static_assert(offsetof(tcp_t, help) == 56, "offsetof(tcp_t, help)");
static_assert(offsetof(tcp_t, mark) == 60, "offsetof(tcp_t, mark)");
static_assert(sizeof(acct_t) == 32, "sizeof(acct_t)");
static_assert(offsetof(acct_t, packets) == 0, "offsetof(acct_t, packets)");
static_assert(offsetof(acct_t, bytes) == 16, "offsetof(acct_t, bytes)");
static_assert(sizeof(bucket_t) == 64, "sizeof(bucket_t)");
static_assert(offsetof(bucket_t, tags) == 0, "offsetof(bucket_t, tags)");
static_assert(offsetof(bucket_t, overflow) == 12, "offsetof(bucket_t, overflow)");
static_assert(offsetof(bucket_t, items) == 16, "offsetof(bucket_t, items)");
static_assert(sizeof(chunk_t) == 64, "sizeof(chunk_t)");
static_assert(offsetof(chunk_t, next) == 0, "offsetof(chunk_t, next)");
static_assert(offsetof(chunk_t, count) == 4, "offsetof(chunk_t, count)");
static_assert(offsetof(chunk_t, slot) == 6, "offsetof(chunk_t, slot)");
static_assert(offsetof(chunk_t, ids) == 8, "offsetof(chunk_t, ids)");
static_assert(sizeof(bitmap_key_t) == (FN_V6 ? 184 : 160), "sizeof(bitmap_key_t)");
static_assert(offsetof(bitmap_key_t, t) == 0, "offsetof(bitmap_key_t, t)");
static_assert(offsetof(bitmap_key_t, newer) == (FN_V6 ? 40 : 16), "offsetof(bitmap_key_t, newer)");
static_assert(offsetof(bitmap_key_t, older) == (FN_V6 ? 44 : 20), "offsetof(bitmap_key_t, older)");
static_assert(offsetof(bitmap_key_t, last_search) == (FN_V6 ? 48 : 24), "offsetof(bitmap_key_t, last_search)");
static_assert(offsetof(bitmap_key_t, live) == (FN_V6 ? 52 : 28), "offsetof(bitmap_key_t, live)");
static_assert(offsetof(bitmap_key_t, pages) == (FN_V6 ? 56 : 32), "offsetof(bitmap_key_t, pages)");
static_assert(sizeof(match_t) == 16, "sizeof(match_t)");
static_assert(offsetof(match_t, kind) == 0, "offsetof(match_t, kind)");
static_assert(offsetof(match_t, invert) == 1, "offsetof(match_t, invert)");
static_assert(offsetof(match_t, n) == 2, "offsetof(match_t, n)");
static_assert(offsetof(match_t, a) == 4, "offsetof(match_t, a)");
static_assert(offsetof(match_t, b) == 8, "offsetof(match_t, b)");
static_assert(offsetof(match_t, c) == 12, "offsetof(match_t, c)");
static_assert(offsetof(match_t, ports.low) == 4, "offsetof(match_t, ports.low)");
static_assert(offsetof(match_t, ports.high) == 8, "offsetof(match_t, ports.high)");
static_assert(offsetof(match_t, range.low) == 4, "offsetof(match_t, range.low)");
static_assert(offsetof(match_t, range.high) == 8, "offsetof(match_t, range.high)");
static_assert(offsetof(match_t, multiport.first) == 4, "offsetof(match_t, multiport.first)");
static_assert(offsetof(match_t, mark.value) == 4, "offsetof(match_t, mark.value)");
static_assert(offsetof(match_t, mark.mask) == 8, "offsetof(match_t, mark.mask)");
static_assert(offsetof(match_t, byte.mask) == 4, "offsetof(match_t, byte.mask)");
static_assert(offsetof(match_t, byte.value) == 8, "offsetof(match_t, byte.value)");
static_assert(offsetof(match_t, icmp.type) == 4, "offsetof(match_t, icmp.type)");
static_assert(offsetof(match_t, icmp.low) == 8, "offsetof(match_t, icmp.low)");
static_assert(offsetof(match_t, icmp.high) == 12, "offsetof(match_t, icmp.high)");
static_assert(offsetof(match_t, addrtype.types) == 4, "offsetof(match_t, addrtype.types)");
static_assert(offsetof(match_t, addrtype.device) == 8, "offsetof(match_t, addrtype.device)");
static_assert(offsetof(match_t, pkt_type.type) == 4, "offsetof(match_t, pkt_type.type)");
static_assert(offsetof(match_t, mac.high) == 4, "offsetof(match_t, mac.high)");
static_assert(offsetof(match_t, mac.low) == 8, "offsetof(match_t, mac.low)");
static_assert(offsetof(match_t, iprange.at) == 4, "offsetof(match_t, iprange.at)");
static_assert(offsetof(match_t, ctstate.bits) == 4, "offsetof(match_t, ctstate.bits)");
static_assert(offsetof(match_t, ctproto.proto) == 4, "offsetof(match_t, ctproto.proto)");
static_assert(offsetof(match_t, ct_addr.at) == 4, "offsetof(match_t, ct_addr.at)");
static_assert(offsetof(match_t, ct_addr.end) == 12, "offsetof(match_t, ct_addr.end)");
static_assert(offsetof(match_t, ct_ports.low) == 4, "offsetof(match_t, ct_ports.low)");
static_assert(offsetof(match_t, ct_ports.high) == 8, "offsetof(match_t, ct_ports.high)");
static_assert(offsetof(match_t, ct_ports.end) == 12, "offsetof(match_t, ct_ports.end)");
static_assert(offsetof(match_t, ct_status.bits) == 4, "offsetof(match_t, ct_status.bits)");
static_assert(offsetof(match_t, ct_dir.dir) == 4, "offsetof(match_t, ct_dir.dir)");
static_assert(offsetof(match_t, nth.last) == 4, "offsetof(match_t, nth.last)");
static_assert(offsetof(match_t, nth.count) == 12, "offsetof(match_t, nth.count)");
static_assert(offsetof(match_t, chance.below) == 4, "offsetof(match_t, chance.below)");
static_assert(offsetof(match_t, l4_header.bytes) == 4, "offsetof(match_t, l4_header.bytes)");
static_assert(offsetof(match_t, constant.holds) == 4, "offsetof(match_t, constant.holds)");
static_assert(offsetof(match_t, set.index) == 4, "offsetof(match_t, set.index)");
static_assert(offsetof(match_t, set.sources) == 8, "offsetof(match_t, set.sources)");
static_assert(offsetof(match_t, set.n_dims) == 12, "offsetof(match_t, set.n_dims)");
static_assert(offsetof(match_t, set_more.at) == 4, "offsetof(match_t, set_more.at)");
static_assert(offsetof(match_t, recent.list) == 4, "offsetof(match_t, recent.list)");
static_assert(offsetof(match_t, recent.window) == 8, "offsetof(match_t, recent.window)");
static_assert(offsetof(match_t, recent.hits) == 12, "offsetof(match_t, recent.hits)");
static_assert(offsetof(match_t, recent_more.at) == 4, "offsetof(match_t, recent_more.at)");
static_assert(offsetof(match_t, limit.cost) == 4, "offsetof(match_t, limit.cost)");
static_assert(offsetof(match_t, limit.most) == 8, "offsetof(match_t, limit.most)");
static_assert(offsetof(match_t, limit_more.credit) == 4, "offsetof(match_t, limit_more.credit)");
static_assert(offsetof(match_t, limit_more.last) == 8, "offsetof(match_t, limit_more.last)");
static_assert(offsetof(match_t, hashlimit.list) == 4, "offsetof(match_t, hashlimit.list)");
static_assert(offsetof(match_t, hashlimit.at) == 8, "offsetof(match_t, hashlimit.at)");
static_assert(offsetof(match_t, hashlimit.expiry) == 12, "offsetof(match_t, hashlimit.expiry)");
static_assert(offsetof(match_t, rpfilter.flags) == 4, "offsetof(match_t, rpfilter.flags)");
static_assert(offsetof(match_t, helper.helper) == 4, "offsetof(match_t, helper.helper)");
static_assert(offsetof(match_t, option.number) == 4, "offsetof(match_t, option.number)");
static_assert(offsetof(match_t, owner.part) == 4, "offsetof(match_t, owner.part)");
static_assert(offsetof(match_t, owner.low) == 8, "offsetof(match_t, owner.low)");
static_assert(offsetof(match_t, owner.high) == 12, "offsetof(match_t, owner.high)");
static_assert(offsetof(match_t, quota.low) == 4, "offsetof(match_t, quota.low)");
static_assert(offsetof(match_t, quota.high) == 8, "offsetof(match_t, quota.high)");
static_assert(offsetof(match_t, time.at) == 4, "offsetof(match_t, time.at)");
static_assert(offsetof(match_t, time.monthdays) == 8, "offsetof(match_t, time.monthdays)");
static_assert(offsetof(match_t, routing.part) == 4, "offsetof(match_t, routing.part)");
static_assert(offsetof(match_t, routing.low) == 8, "offsetof(match_t, routing.low)");
static_assert(offsetof(match_t, routing.high) == 12, "offsetof(match_t, routing.high)");
static_assert(offsetof(match_t, connlimit.list) == 4, "offsetof(match_t, connlimit.list)");
static_assert(offsetof(match_t, connlimit.at) == 8, "offsetof(match_t, connlimit.at)");
static_assert(offsetof(match_t, connlimit.limit) == 12, "offsetof(match_t, connlimit.limit)");
static_assert(offsetof(match_t, connbytes.at) == 4, "offsetof(match_t, connbytes.at)");
static_assert(offsetof(match_t, connbytes.part) == 8, "offsetof(match_t, connbytes.part)");
static_assert(offsetof(match_t, connbytes.ways) == 12, "offsetof(match_t, connbytes.ways)");
static_assert(offsetof(match_t, listed.first) == 4, "offsetof(match_t, listed.first)");
static_assert(sizeof(rule_t) == (FN_V6 ? 112 : 64), "sizeof(rule_t)");
static_assert(offsetof(rule_t, src) == 0, "offsetof(rule_t, src)");
static_assert(offsetof(rule_t, smask) == (FN_V6 ? 16 : 4), "offsetof(rule_t, smask)");
static_assert(offsetof(rule_t, dst) == (FN_V6 ? 32 : 8), "offsetof(rule_t, dst)");
static_assert(offsetof(rule_t, dmask) == (FN_V6 ? 48 : 12), "offsetof(rule_t, dmask)");
static_assert(offsetof(rule_t, in_set) == (FN_V6 ? 64 : 16), "offsetof(rule_t, in_set)");
static_assert(offsetof(rule_t, out_set) == (FN_V6 ? 66 : 18), "offsetof(rule_t, out_set)");
static_assert(offsetof(rule_t, proto) == (FN_V6 ? 68 : 20), "offsetof(rule_t, proto)");
static_assert(offsetof(rule_t, invert) == (FN_V6 ? 69 : 21), "offsetof(rule_t, invert)");
static_assert(offsetof(rule_t, target) == (FN_V6 ? 70 : 22), "offsetof(rule_t, target)");
static_assert(offsetof(rule_t, tests) == (FN_V6 ? 71 : 23), "offsetof(rule_t, tests)");
static_assert(offsetof(rule_t, target_arg) == (FN_V6 ? 72 : 24), "offsetof(rule_t, target_arg)");
static_assert(offsetof(rule_t, next) == (FN_V6 ? 76 : 28), "offsetof(rule_t, next)");
static_assert(offsetof(rule_t, match) == (FN_V6 ? 80 : 32), "offsetof(rule_t, match)");
static_assert(offsetof(rule_t, packets) == (FN_V6 ? 96 : 48), "offsetof(rule_t, packets)");
static_assert(offsetof(rule_t, bytes) == (FN_V6 ? 104 : 56), "offsetof(rule_t, bytes)");
static_assert(sizeof(dispatch_t) == 16, "sizeof(dispatch_t)");
static_assert(offsetof(dispatch_t, kind) == 0, "offsetof(dispatch_t, kind)");
static_assert(offsetof(dispatch_t, shift) == 1, "offsetof(dispatch_t, shift)");
static_assert(offsetof(dispatch_t, apart) == 2, "offsetof(dispatch_t, apart)");
static_assert(offsetof(dispatch_t, alike) == 3, "offsetof(dispatch_t, alike)");
static_assert(offsetof(dispatch_t, mask) == 4, "offsetof(dispatch_t, mask)");
static_assert(offsetof(dispatch_t, first_slot) == 8, "offsetof(dispatch_t, first_slot)");
static_assert(offsetof(dispatch_t, pad) == 12, "offsetof(dispatch_t, pad)");
static_assert(sizeof(dispatch_slot_t) == 8, "sizeof(dispatch_slot_t)");
static_assert(offsetof(dispatch_slot_t, key) == 0, "offsetof(dispatch_slot_t, key)");
static_assert(offsetof(dispatch_slot_t, rule) == 4, "offsetof(dispatch_slot_t, rule)");
static_assert(sizeof(base_t) == 16, "sizeof(base_t)");
static_assert(offsetof(base_t, kind) == 0, "offsetof(base_t, kind)");
static_assert(offsetof(base_t, entry) == 4, "offsetof(base_t, entry)");
static_assert(offsetof(base_t, policy) == 8, "offsetof(base_t, policy)");
static_assert(offsetof(base_t, routes) == 12, "offsetof(base_t, routes)");
static_assert(sizeof(nft_expr_t) == 16, "sizeof(nft_expr_t)");
static_assert(offsetof(nft_expr_t, kind) == 0, "offsetof(nft_expr_t, kind)");
static_assert(offsetof(nft_expr_t, words) == 1, "offsetof(nft_expr_t, words)");
static_assert(offsetof(nft_expr_t, dreg) == 2, "offsetof(nft_expr_t, dreg)");
static_assert(offsetof(nft_expr_t, sreg) == 3, "offsetof(nft_expr_t, sreg)");
static_assert(offsetof(nft_expr_t, a) == 4, "offsetof(nft_expr_t, a)");
static_assert(offsetof(nft_expr_t, b) == 8, "offsetof(nft_expr_t, b)");
static_assert(offsetof(nft_expr_t, c) == 12, "offsetof(nft_expr_t, c)");
static_assert(sizeof(nft_rule_t) == 8, "sizeof(nft_rule_t)");
static_assert(offsetof(nft_rule_t, first) == 0, "offsetof(nft_rule_t, first)");
static_assert(offsetof(nft_rule_t, n) == 4, "offsetof(nft_rule_t, n)");
static_assert(sizeof(nft_set_t) == 76, "sizeof(nft_set_t)");
static_assert(offsetof(nft_set_t, kind) == 0, "offsetof(nft_set_t, kind)");
static_assert(offsetof(nft_set_t, key_words) == 4, "offsetof(nft_set_t, key_words)");
static_assert(offsetof(nft_set_t, data_words) == 8, "offsetof(nft_set_t, data_words)");
static_assert(offsetof(nft_set_t, stride) == 12, "offsetof(nft_set_t, stride)");
static_assert(offsetof(nft_set_t, first) == 16, "offsetof(nft_set_t, first)");
static_assert(offsetof(nft_set_t, used) == 20, "offsetof(nft_set_t, used)");
static_assert(offsetof(nft_set_t, size) == 24, "offsetof(nft_set_t, size)");
static_assert(offsetof(nft_set_t, count) == 28, "offsetof(nft_set_t, count)");
static_assert(offsetof(nft_set_t, free) == 32, "offsetof(nft_set_t, free)");
static_assert(offsetof(nft_set_t, words) == 36, "offsetof(nft_set_t, words)");
static_assert(offsetof(nft_set_t, slot) == 40, "offsetof(nft_set_t, slot)");
static_assert(offsetof(nft_set_t, mask) == 44, "offsetof(nft_set_t, mask)");
static_assert(offsetof(nft_set_t, exact) == 48, "offsetof(nft_set_t, exact)");
static_assert(offsetof(nft_set_t, timeout) == 52, "offsetof(nft_set_t, timeout)");
static_assert(offsetof(nft_set_t, any) == 56, "offsetof(nft_set_t, any)");
static_assert(offsetof(nft_set_t, states) == 60, "offsetof(nft_set_t, states)");
static_assert(offsetof(nft_set_t, n_states) == 64, "offsetof(nft_set_t, n_states)");
static_assert(offsetof(nft_set_t, state_exprs) == 68, "offsetof(nft_set_t, state_exprs)");
static_assert(offsetof(nft_set_t, timed) == 72, "offsetof(nft_set_t, timed)");
static_assert(sizeof(nft_element_t) == 16, "sizeof(nft_element_t)");
static_assert(offsetof(nft_element_t, next) == 0, "offsetof(nft_element_t, next)");
static_assert(offsetof(nft_element_t, expires) == 4, "offsetof(nft_element_t, expires)");
static_assert(offsetof(nft_element_t, timeout) == 8, "offsetof(nft_element_t, timeout)");
static_assert(offsetof(nft_element_t, used) == 12, "offsetof(nft_element_t, used)");
static_assert(sizeof(nft_state_t) == 56, "sizeof(nft_state_t)");
static_assert(offsetof(nft_state_t, packets) == 0, "offsetof(nft_state_t, packets)");
static_assert(offsetof(nft_state_t, bytes) == 8, "offsetof(nft_state_t, bytes)");
static_assert(offsetof(nft_state_t, tokens) == 16, "offsetof(nft_state_t, tokens)");
static_assert(offsetof(nft_state_t, last) == 24, "offsetof(nft_state_t, last)");
static_assert(offsetof(nft_state_t, cost) == 32, "offsetof(nft_state_t, cost)");
static_assert(offsetof(nft_state_t, most) == 40, "offsetof(nft_state_t, most)");
static_assert(offsetof(nft_state_t, period) == 48, "offsetof(nft_state_t, period)");
static_assert(sizeof(nft_conn_t) == (FN_V6 ? 48 : 24), "sizeof(nft_conn_t)");
static_assert(offsetof(nft_conn_t, t) == 0, "offsetof(nft_conn_t, t)");
static_assert(offsetof(nft_conn_t, next) == (FN_V6 ? 40 : 16), "offsetof(nft_conn_t, next)");
static_assert(sizeof(table_memo_t) == 128, "sizeof(table_memo_t)");
static_assert(offsetof(table_memo_t, key) == 0, "offsetof(table_memo_t, key)");
static_assert(offsetof(table_memo_t, packets) == 24, "offsetof(table_memo_t, packets)");
static_assert(offsetof(table_memo_t, bytes) == 32, "offsetof(table_memo_t, bytes)");
static_assert(offsetof(table_memo_t, mark) == 40, "offsetof(table_memo_t, mark)");
static_assert(offsetof(table_memo_t, target_arg) == 44, "offsetof(table_memo_t, target_arg)");
static_assert(offsetof(table_memo_t, walked) == 48, "offsetof(table_memo_t, walked)");
static_assert(offsetof(table_memo_t, kind) == 50, "offsetof(table_memo_t, kind)");
static_assert(offsetof(table_memo_t, n) == 51, "offsetof(table_memo_t, n)");
static_assert(offsetof(table_memo_t, rules) == 52, "offsetof(table_memo_t, rules)");
static_assert(offsetof(table_memo_t, varied) == 120, "offsetof(table_memo_t, varied)");
static_assert(offsetof(table_memo_t, asks_tuple) == 124, "offsetof(table_memo_t, asks_tuple)");
static_assert(offsetof(table_memo_t, untracked) == 125, "offsetof(table_memo_t, untracked)");
static_assert(offsetof(table_memo_t, pad) == 126, "offsetof(table_memo_t, pad)");
static_assert(sizeof(memo_t) == (FN_V6 ? 216 : 192), "sizeof(memo_t)");
static_assert(offsetof(memo_t, key) == 0, "offsetof(memo_t, key)");
static_assert(offsetof(memo_t, packets) == 24, "offsetof(memo_t, packets)");
static_assert(offsetof(memo_t, bytes) == 32, "offsetof(memo_t, bytes)");
static_assert(offsetof(memo_t, addr) == 40, "offsetof(memo_t, addr)");
static_assert(offsetof(memo_t, born) == (FN_V6 ? 56 : 44), "offsetof(memo_t, born)");
static_assert(offsetof(memo_t, route) == (FN_V6 ? 60 : 48), "offsetof(memo_t, route)");
static_assert(offsetof(memo_t, walked) == (FN_V6 ? 62 : 50), "offsetof(memo_t, walked)");
static_assert(offsetof(memo_t, out_iface) == (FN_V6 ? 64 : 52), "offsetof(memo_t, out_iface)");
static_assert(offsetof(memo_t, masq_iface) == (FN_V6 ? 66 : 54), "offsetof(memo_t, masq_iface)");
static_assert(offsetof(memo_t, kind) == (FN_V6 ? 68 : 56), "offsetof(memo_t, kind)");
static_assert(offsetof(memo_t, n) == (FN_V6 ? 69 : 57), "offsetof(memo_t, n)");
static_assert(offsetof(memo_t, complete) == (FN_V6 ? 70 : 58), "offsetof(memo_t, complete)");
static_assert(offsetof(memo_t, varied) == (FN_V6 ? 71 : 59), "offsetof(memo_t, varied)");
static_assert(offsetof(memo_t, target_arg) == (FN_V6 ? 72 : 60), "offsetof(memo_t, target_arg)");
static_assert(offsetof(memo_t, mark) == (FN_V6 ? 76 : 64), "offsetof(memo_t, mark)");
static_assert(offsetof(memo_t, to) == (FN_V6 ? 80 : 68), "offsetof(memo_t, to)");
static_assert(offsetof(memo_t, to_port) == (FN_V6 ? 96 : 72), "offsetof(memo_t, to_port)");
static_assert(offsetof(memo_t, back) == (FN_V6 ? 98 : 74), "offsetof(memo_t, back)");
static_assert(offsetof(memo_t, rules) == (FN_V6 ? 100 : 76), "offsetof(memo_t, rules)");
static_assert(offsetof(memo_t, pad2) == (FN_V6 ? 212 : 188), "offsetof(memo_t, pad2)");
static_assert(sizeof(pass_memo_t) == 128, "sizeof(pass_memo_t)");
static_assert(offsetof(pass_memo_t, key) == 0, "offsetof(pass_memo_t, key)");
static_assert(offsetof(pass_memo_t, packets) == 16, "offsetof(pass_memo_t, packets)");
static_assert(offsetof(pass_memo_t, bytes) == 24, "offsetof(pass_memo_t, bytes)");
static_assert(offsetof(pass_memo_t, walked) == 32, "offsetof(pass_memo_t, walked)");
static_assert(offsetof(pass_memo_t, n) == 34, "offsetof(pass_memo_t, n)");
static_assert(offsetof(pass_memo_t, fails) == 35, "offsetof(pass_memo_t, fails)");
static_assert(offsetof(pass_memo_t, rules) == 36, "offsetof(pass_memo_t, rules)");
static_assert(offsetof(pass_memo_t, pad) == 116, "offsetof(pass_memo_t, pad)");
static_assert(sizeof(memo_bounds_t) == (FN_V6 ? 88 : 40), "sizeof(memo_bounds_t)");
static_assert(offsetof(memo_bounds_t, memo) == 0, "offsetof(memo_bounds_t, memo)");
static_assert(offsetof(memo_bounds_t, born) == 4, "offsetof(memo_bounds_t, born)");
static_assert(offsetof(memo_bounds_t, src) == 8, "offsetof(memo_bounds_t, src)");
static_assert(offsetof(memo_bounds_t, src_width) == (FN_V6 ? 24 : 12), "offsetof(memo_bounds_t, src_width)");
static_assert(offsetof(memo_bounds_t, dst) == (FN_V6 ? 40 : 16), "offsetof(memo_bounds_t, dst)");
static_assert(offsetof(memo_bounds_t, dst_width) == (FN_V6 ? 56 : 20), "offsetof(memo_bounds_t, dst_width)");
static_assert(offsetof(memo_bounds_t, sport) == (FN_V6 ? 72 : 24), "offsetof(memo_bounds_t, sport)");
static_assert(offsetof(memo_bounds_t, sport_width) == (FN_V6 ? 74 : 26), "offsetof(memo_bounds_t, sport_width)");
static_assert(offsetof(memo_bounds_t, dport) == (FN_V6 ? 76 : 28), "offsetof(memo_bounds_t, dport)");
static_assert(offsetof(memo_bounds_t, dport_width) == (FN_V6 ? 78 : 30), "offsetof(memo_bounds_t, dport_width)");
static_assert(offsetof(memo_bounds_t, mark) == (FN_V6 ? 80 : 32), "offsetof(memo_bounds_t, mark)");
static_assert(offsetof(memo_bounds_t, iface) == (FN_V6 ? 84 : 36), "offsetof(memo_bounds_t, iface)");
static_assert(offsetof(memo_bounds_t, tcp_flags) == (FN_V6 ? 86 : 38), "offsetof(memo_bounds_t, tcp_flags)");
static_assert(offsetof(memo_bounds_t, proto) == (FN_V6 ? 87 : 39), "offsetof(memo_bounds_t, proto)");
static_assert(sizeof(set_t) == 48, "sizeof(set_t)");
static_assert(offsetof(set_t, prefixes) == 0, "offsetof(set_t, prefixes)");
static_assert(offsetof(set_t, mask) == 24, "offsetof(set_t, mask)");
static_assert(offsetof(set_t, first_slot) == 28, "offsetof(set_t, first_slot)");
static_assert(offsetof(set_t, first_member) == 32, "offsetof(set_t, first_member)");
static_assert(offsetof(set_t, n_members) == 36, "offsetof(set_t, n_members)");
static_assert(offsetof(set_t, dims) == 40, "offsetof(set_t, dims)");
static_assert(offsetof(set_t, n_dims) == 43, "offsetof(set_t, n_dims)");
static_assert(offsetof(set_t, netmask) == 44, "offsetof(set_t, netmask)");
static_assert(offsetof(set_t, counts) == 45, "offsetof(set_t, counts)");
static_assert(offsetof(set_t, exceptions) == 46, "offsetof(set_t, exceptions)");
static_assert(offsetof(set_t, pad) == 47, "offsetof(set_t, pad)");
static_assert(sizeof(element_t) == (FN_V6 ? 64 : 40), "sizeof(element_t)");
static_assert(offsetof(element_t, addrs) == 0, "offsetof(element_t, addrs)");
static_assert(offsetof(element_t, port) == (FN_V6 ? 32 : 8), "offsetof(element_t, port)");
static_assert(offsetof(element_t, prefix) == (FN_V6 ? 36 : 12), "offsetof(element_t, prefix)");
static_assert(offsetof(element_t, used) == (FN_V6 ? 37 : 13), "offsetof(element_t, used)");
static_assert(offsetof(element_t, nomatch) == (FN_V6 ? 38 : 14), "offsetof(element_t, nomatch)");
static_assert(offsetof(element_t, expires) == (FN_V6 ? 39 : 15), "offsetof(element_t, expires)");
static_assert(offsetof(element_t, until) == (FN_V6 ? 40 : 16), "offsetof(element_t, until)");
static_assert(offsetof(element_t, pad) == (FN_V6 ? 44 : 20), "offsetof(element_t, pad)");
static_assert(offsetof(element_t, packets) == (FN_V6 ? 48 : 24), "offsetof(element_t, packets)");
static_assert(offsetof(element_t, bytes) == (FN_V6 ? 56 : 32), "offsetof(element_t, bytes)");
static_assert(sizeof(recent_t) == (FN_V6 ? 32 : 20), "sizeof(recent_t)");
static_assert(offsetof(recent_t, addr) == 0, "offsetof(recent_t, addr)");
static_assert(offsetof(recent_t, used) == (FN_V6 ? 16 : 4), "offsetof(recent_t, used)");
static_assert(offsetof(recent_t, next) == (FN_V6 ? 20 : 8), "offsetof(recent_t, next)");
static_assert(offsetof(recent_t, n_stamps) == (FN_V6 ? 24 : 12), "offsetof(recent_t, n_stamps)");
static_assert(offsetof(recent_t, ttl) == (FN_V6 ? 28 : 16), "offsetof(recent_t, ttl)");
static_assert(sizeof(recent_list_t) == 8, "sizeof(recent_list_t)");
static_assert(offsetof(recent_list_t, ring) == 0, "offsetof(recent_list_t, ring)");
static_assert(offsetof(recent_list_t, first) == 4, "offsetof(recent_list_t, first)");
static_assert(sizeof(hook_count_t) == 16, "sizeof(hook_count_t)");
static_assert(offsetof(hook_count_t, packets) == 0, "offsetof(hook_count_t, packets)");
static_assert(offsetof(hook_count_t, bytes) == 8, "offsetof(hook_count_t, bytes)");
static_assert(sizeof(hashlimit_t) == (FN_V6 ? 64 : 40), "sizeof(hashlimit_t)");
static_assert(offsetof(hashlimit_t, src) == 0, "offsetof(hashlimit_t, src)");
static_assert(offsetof(hashlimit_t, dst) == (FN_V6 ? 16 : 4), "offsetof(hashlimit_t, dst)");
static_assert(offsetof(hashlimit_t, ports) == (FN_V6 ? 32 : 8), "offsetof(hashlimit_t, ports)");
static_assert(offsetof(hashlimit_t, used) == (FN_V6 ? 36 : 12), "offsetof(hashlimit_t, used)");
static_assert(offsetof(hashlimit_t, credit) == (FN_V6 ? 40 : 16), "offsetof(hashlimit_t, credit)");
static_assert(offsetof(hashlimit_t, last) == (FN_V6 ? 48 : 24), "offsetof(hashlimit_t, last)");
static_assert(offsetof(hashlimit_t, seen) == (FN_V6 ? 52 : 28), "offsetof(hashlimit_t, seen)");
static_assert(offsetof(hashlimit_t, bursts) == (FN_V6 ? 56 : 32), "offsetof(hashlimit_t, bursts)");
static_assert(offsetof(hashlimit_t, pad) == (FN_V6 ? 60 : 36), "offsetof(hashlimit_t, pad)");
static_assert(sizeof(connlimit_t) == (FN_V6 ? 64 : 32), "sizeof(connlimit_t)");
static_assert(offsetof(connlimit_t, t) == 0, "offsetof(connlimit_t, t)");
static_assert(offsetof(connlimit_t, addr) == (FN_V6 ? 40 : 16), "offsetof(connlimit_t, addr)");
static_assert(offsetof(connlimit_t, next) == (FN_V6 ? 56 : 20), "offsetof(connlimit_t, next)");
static_assert(offsetof(connlimit_t, list) == (FN_V6 ? 60 : 24), "offsetof(connlimit_t, list)");
static_assert(offsetof(connlimit_t, zone) == (FN_V6 ? 62 : 26), "offsetof(connlimit_t, zone)");
#if !FN_V6
static_assert(offsetof(connlimit_t, pad) == 28, "offsetof(connlimit_t, pad)");
#endif
static_assert(sizeof(help_t) == 80, "sizeof(help_t)");
static_assert(offsetof(help_t, first) == 0, "offsetof(help_t, first)");
static_assert(offsetof(help_t, kind) == 4, "offsetof(help_t, kind)");
static_assert(offsetof(help_t, master_kind) == 5, "offsetof(help_t, master_kind)");
static_assert(offsetof(help_t, n_ends) == 6, "offsetof(help_t, n_ends)");
static_assert(offsetof(help_t, line_ends) == 8, "offsetof(help_t, line_ends)");
static_assert(offsetof(help_t, pos) == 24, "offsetof(help_t, pos)");
static_assert(offsetof(help_t, before) == 32, "offsetof(help_t, before)");
static_assert(offsetof(help_t, after) == 40, "offsetof(help_t, after)");
static_assert(offsetof(help_t, pns_call) == 48, "offsetof(help_t, pns_call)");
static_assert(offsetof(help_t, pac_call) == 50, "offsetof(help_t, pac_call)");
static_assert(offsetof(help_t, own_call) == 52, "offsetof(help_t, own_call)");
static_assert(offsetof(help_t, far_call) == 54, "offsetof(help_t, far_call)");
static_assert(offsetof(help_t, session) == 56, "offsetof(help_t, session)");
static_assert(offsetof(help_t, call) == 57, "offsetof(help_t, call)");
static_assert(offsetof(help_t, pad) == 58, "offsetof(help_t, pad)");
static_assert(offsetof(help_t, master) == 60, "offsetof(help_t, master)");
static_assert(offsetof(help_t, serial) == 64, "offsetof(help_t, serial)");
static_assert(offsetof(help_t, master_serial) == 68, "offsetof(help_t, master_serial)");
static_assert(offsetof(help_t, pad2) == 72, "offsetof(help_t, pad2)");
static_assert(sizeof(expect_t) == (FN_V6 ? 64 : 40), "sizeof(expect_t)");
static_assert(offsetof(expect_t, t) == 0, "offsetof(expect_t, t)");
static_assert(offsetof(expect_t, master) == (FN_V6 ? 40 : 16), "offsetof(expect_t, master)");
static_assert(offsetof(expect_t, next) == (FN_V6 ? 44 : 20), "offsetof(expect_t, next)");
static_assert(offsetof(expect_t, sibling) == (FN_V6 ? 48 : 24), "offsetof(expect_t, sibling)");
static_assert(offsetof(expect_t, expires) == (FN_V6 ? 52 : 28), "offsetof(expect_t, expires)");
static_assert(offsetof(expect_t, saved_port) == (FN_V6 ? 56 : 32), "offsetof(expect_t, saved_port)");
static_assert(offsetof(expect_t, kind) == (FN_V6 ? 58 : 34), "offsetof(expect_t, kind)");
static_assert(offsetof(expect_t, dir) == (FN_V6 ? 59 : 35), "offsetof(expect_t, dir)");
static_assert(offsetof(expect_t, any_sport) == (FN_V6 ? 60 : 36), "offsetof(expect_t, any_sport)");
static_assert(offsetof(expect_t, pad) == (FN_V6 ? 61 : 37), "offsetof(expect_t, pad)");
static_assert(sizeof(event_t) == (FN_V6 ? 144 : 96), "sizeof(event_t)");
static_assert(offsetof(event_t, tuples) == 0, "offsetof(event_t, tuples)");
static_assert(offsetof(event_t, tick) == (FN_V6 ? 80 : 32), "offsetof(event_t, tick)");
static_assert(offsetof(event_t, timeout) == (FN_V6 ? 88 : 40), "offsetof(event_t, timeout)");
static_assert(offsetof(event_t, mark) == (FN_V6 ? 92 : 44), "offsetof(event_t, mark)");
static_assert(offsetof(event_t, conn) == (FN_V6 ? 96 : 48), "offsetof(event_t, conn)");
static_assert(offsetof(event_t, zone) == (FN_V6 ? 100 : 52), "offsetof(event_t, zone)");
static_assert(offsetof(event_t, status) == (FN_V6 ? 102 : 54), "offsetof(event_t, status)");
static_assert(offsetof(event_t, kind) == (FN_V6 ? 104 : 56), "offsetof(event_t, kind)");
static_assert(offsetof(event_t, what) == (FN_V6 ? 105 : 57), "offsetof(event_t, what)");
static_assert(offsetof(event_t, state) == (FN_V6 ? 106 : 58), "offsetof(event_t, state)");
static_assert(offsetof(event_t, counted) == (FN_V6 ? 107 : 59), "offsetof(event_t, counted)");
static_assert(offsetof(event_t, pad) == (FN_V6 ? 108 : 60), "offsetof(event_t, pad)");
static_assert(offsetof(event_t, acct) == (FN_V6 ? 112 : 64), "offsetof(event_t, acct)");
static_assert(sizeof(waypoint_t) == (FN_V6 ? 56 : 32), "sizeof(waypoint_t)");
static_assert(offsetof(waypoint_t, t) == 0, "offsetof(waypoint_t, t)");
static_assert(offsetof(waypoint_t, mark) == (FN_V6 ? 40 : 16), "offsetof(waypoint_t, mark)");
static_assert(offsetof(waypoint_t, out_iface) == (FN_V6 ? 44 : 20), "offsetof(waypoint_t, out_iface)");
static_assert(offsetof(waypoint_t, route) == (FN_V6 ? 46 : 22), "offsetof(waypoint_t, route)");
static_assert(offsetof(waypoint_t, place) == (FN_V6 ? 48 : 24), "offsetof(waypoint_t, place)");
static_assert(offsetof(waypoint_t, ctinfo) == (FN_V6 ? 49 : 25), "offsetof(waypoint_t, ctinfo)");
static_assert(offsetof(waypoint_t, reason) == (FN_V6 ? 50 : 26), "offsetof(waypoint_t, reason)");
static_assert(offsetof(waypoint_t, is_new) == (FN_V6 ? 51 : 27), "offsetof(waypoint_t, is_new)");
static_assert(offsetof(waypoint_t, pad) == (FN_V6 ? 52 : 28), "offsetof(waypoint_t, pad)");
static_assert(sizeof(target_t) == (FN_V6 ? 56 : 32), "sizeof(target_t)");
static_assert(offsetof(target_t, min_addr) == 0, "offsetof(target_t, min_addr)");
static_assert(offsetof(target_t, max_addr) == (FN_V6 ? 16 : 4), "offsetof(target_t, max_addr)");
static_assert(offsetof(target_t, min_proto) == (FN_V6 ? 32 : 8), "offsetof(target_t, min_proto)");
static_assert(offsetof(target_t, max_proto) == (FN_V6 ? 34 : 10), "offsetof(target_t, max_proto)");
static_assert(offsetof(target_t, base_proto) == (FN_V6 ? 36 : 12), "offsetof(target_t, base_proto)");
static_assert(offsetof(target_t, flags) == (FN_V6 ? 38 : 14), "offsetof(target_t, flags)");
static_assert(offsetof(target_t, value) == (FN_V6 ? 40 : 16), "offsetof(target_t, value)");
static_assert(offsetof(target_t, mask) == (FN_V6 ? 44 : 20), "offsetof(target_t, mask)");
static_assert(offsetof(target_t, mask2) == (FN_V6 ? 48 : 24), "offsetof(target_t, mask2)");
static_assert(offsetof(target_t, op) == (FN_V6 ? 52 : 28), "offsetof(target_t, op)");
static_assert(offsetof(target_t, network.addr) == 0, "offsetof(target_t, network.addr)");
static_assert(offsetof(target_t, network.mask) == (FN_V6 ? 16 : 4), "offsetof(target_t, network.mask)");
static_assert(offsetof(target_t, masks.src) == 0, "offsetof(target_t, masks.src)");
static_assert(offsetof(target_t, masks.dst) == (FN_V6 ? 16 : 4), "offsetof(target_t, masks.dst)");
static_assert(offsetof(target_t, window.jiffies) == (FN_V6 ? 32 : 8), "offsetof(target_t, window.jiffies)");
static_assert(offsetof(target_t, rate.cost) == (FN_V6 ? 40 : 16), "offsetof(target_t, rate.cost)");
static_assert(offsetof(target_t, rate.full) == (FN_V6 ? 48 : 24), "offsetof(target_t, rate.full)");
static_assert(offsetof(target_t, counts.low) == (FN_V6 ? 40 : 16), "offsetof(target_t, counts.low)");
static_assert(offsetof(target_t, counts.high) == (FN_V6 ? 48 : 24), "offsetof(target_t, counts.high)");
static_assert(offsetof(target_t, period.date_start) == (FN_V6 ? 40 : 16), "offsetof(target_t, period.date_start)");
static_assert(offsetof(target_t, period.date_stop) == (FN_V6 ? 44 : 20), "offsetof(target_t, period.date_stop)");
static_assert(offsetof(target_t, period.day_start) == (FN_V6 ? 48 : 24), "offsetof(target_t, period.day_start)");
static_assert(offsetof(target_t, period.day_stop) == (FN_V6 ? 52 : 28), "offsetof(target_t, period.day_stop)");
static_assert(sizeof(route_t) == (FN_V6 ? 64 : 32), "sizeof(route_t)");
static_assert(offsetof(route_t, dst) == 0, "offsetof(route_t, dst)");
static_assert(offsetof(route_t, mask) == (FN_V6 ? 16 : 4), "offsetof(route_t, mask)");
static_assert(offsetof(route_t, gateway) == (FN_V6 ? 32 : 8), "offsetof(route_t, gateway)");
static_assert(offsetof(route_t, bound) == (FN_V6 ? 48 : 12), "offsetof(route_t, bound)");
static_assert(offsetof(route_t, hops) == (FN_V6 ? 52 : 16), "offsetof(route_t, hops)");
static_assert(offsetof(route_t, iface) == (FN_V6 ? 54 : 18), "offsetof(route_t, iface)");
static_assert(offsetof(route_t, kind) == (FN_V6 ? 56 : 20), "offsetof(route_t, kind)");
static_assert(offsetof(route_t, scope) == (FN_V6 ? 57 : 21), "offsetof(route_t, scope)");
static_assert(offsetof(route_t, src) == (FN_V6 ? 58 : 22), "offsetof(route_t, src)");
#if !FN_V6
static_assert(offsetof(route_t, pad3) == 24, "offsetof(route_t, pad3)");
#endif
#if FN_V6
static_assert(offsetof(route_t, pad2) == 60, "offsetof(route_t, pad2)");
#endif
static_assert(sizeof(neighbour_t) == (FN_V6 ? 32 : 16), "sizeof(neighbour_t)");
static_assert(offsetof(neighbour_t, addr) == 0, "offsetof(neighbour_t, addr)");
static_assert(offsetof(neighbour_t, iface) == (FN_V6 ? 16 : 4), "offsetof(neighbour_t, iface)");
static_assert(offsetof(neighbour_t, mac) == (FN_V6 ? 24 : 8), "offsetof(neighbour_t, mac)");
#if FN_V6
static_assert(offsetof(neighbour_t, pad) == 20, "offsetof(neighbour_t, pad)");
#endif
static_assert(sizeof(fib_rule_t) == (FN_V6 ? 120 : 60), "sizeof(fib_rule_t)");
static_assert(offsetof(fib_rule_t, src) == 0, "offsetof(fib_rule_t, src)");
static_assert(offsetof(fib_rule_t, smask) == (FN_V6 ? 16 : 4), "offsetof(fib_rule_t, smask)");
static_assert(offsetof(fib_rule_t, dst) == (FN_V6 ? 32 : 8), "offsetof(fib_rule_t, dst)");
static_assert(offsetof(fib_rule_t, dmask) == (FN_V6 ? 48 : 12), "offsetof(fib_rule_t, dmask)");
static_assert(offsetof(fib_rule_t, suppressed) == (FN_V6 ? 64 : 16), "offsetof(fib_rule_t, suppressed)");
static_assert(offsetof(fib_rule_t, mark) == (FN_V6 ? 80 : 20), "offsetof(fib_rule_t, mark)");
static_assert(offsetof(fib_rule_t, mask) == (FN_V6 ? 84 : 24), "offsetof(fib_rule_t, mask)");
static_assert(offsetof(fib_rule_t, in_iface) == (FN_V6 ? 88 : 28), "offsetof(fib_rule_t, in_iface)");
static_assert(offsetof(fib_rule_t, out_iface) == (FN_V6 ? 90 : 30), "offsetof(fib_rule_t, out_iface)");
static_assert(offsetof(fib_rule_t, pad) == (FN_V6 ? 92 : 32), "offsetof(fib_rule_t, pad)");
static_assert(offsetof(fib_rule_t, table) == (FN_V6 ? 94 : 34), "offsetof(fib_rule_t, table)");
static_assert(offsetof(fib_rule_t, sport_min) == (FN_V6 ? 96 : 36), "offsetof(fib_rule_t, sport_min)");
static_assert(offsetof(fib_rule_t, sport_max) == (FN_V6 ? 98 : 38), "offsetof(fib_rule_t, sport_max)");
static_assert(offsetof(fib_rule_t, dport_min) == (FN_V6 ? 100 : 40), "offsetof(fib_rule_t, dport_min)");
static_assert(offsetof(fib_rule_t, dport_max) == (FN_V6 ? 102 : 42), "offsetof(fib_rule_t, dport_max)");
static_assert(offsetof(fib_rule_t, proto) == (FN_V6 ? 104 : 44), "offsetof(fib_rule_t, proto)");
static_assert(offsetof(fib_rule_t, invert) == (FN_V6 ? 105 : 45), "offsetof(fib_rule_t, invert)");
static_assert(offsetof(fib_rule_t, refuses) == (FN_V6 ? 106 : 46), "offsetof(fib_rule_t, refuses)");
static_assert(offsetof(fib_rule_t, suppresses) == (FN_V6 ? 107 : 47), "offsetof(fib_rule_t, suppresses)");
static_assert(offsetof(fib_rule_t, tos) == (FN_V6 ? 108 : 48), "offsetof(fib_rule_t, tos)");
static_assert(offsetof(fib_rule_t, tos_mask) == (FN_V6 ? 109 : 49), "offsetof(fib_rule_t, tos_mask)");
static_assert(offsetof(fib_rule_t, pad2) == (FN_V6 ? 110 : 50), "offsetof(fib_rule_t, pad2)");
static_assert(offsetof(fib_rule_t, first_route) == (FN_V6 ? 112 : 52), "offsetof(fib_rule_t, first_route)");
static_assert(offsetof(fib_rule_t, end_route) == (FN_V6 ? 116 : 56), "offsetof(fib_rule_t, end_route)");
static_assert(sizeof(address_t) == (FN_V6 ? 56 : 16), "sizeof(address_t)");
static_assert(offsetof(address_t, local) == 0, "offsetof(address_t, local)");
static_assert(offsetof(address_t, mask) == (FN_V6 ? 16 : 4), "offsetof(address_t, mask)");
static_assert(offsetof(address_t, peer) == (FN_V6 ? 32 : 8), "offsetof(address_t, peer)");
static_assert(offsetof(address_t, iface) == (FN_V6 ? 48 : 12), "offsetof(address_t, iface)");
static_assert(offsetof(address_t, scope) == (FN_V6 ? 50 : 14), "offsetof(address_t, scope)");
static_assert(offsetof(address_t, flags) == (FN_V6 ? 51 : 15), "offsetof(address_t, flags)");
#if FN_V6
static_assert(offsetof(address_t, pad) == 52, "offsetof(address_t, pad)");
#endif
static_assert(sizeof(packet_t) == (FN_V6 ? 48 : 24), "sizeof(packet_t)");
static_assert(offsetof(packet_t, src) == 0, "offsetof(packet_t, src)");
static_assert(offsetof(packet_t, dst) == (FN_V6 ? 16 : 4), "offsetof(packet_t, dst)");
static_assert(offsetof(packet_t, sport) == (FN_V6 ? 32 : 8), "offsetof(packet_t, sport)");
static_assert(offsetof(packet_t, dport) == (FN_V6 ? 34 : 10), "offsetof(packet_t, dport)");
static_assert(offsetof(packet_t, iface) == (FN_V6 ? 36 : 12), "offsetof(packet_t, iface)");
static_assert(offsetof(packet_t, length) == (FN_V6 ? 38 : 14), "offsetof(packet_t, length)");
static_assert(offsetof(packet_t, proto) == (FN_V6 ? 40 : 16), "offsetof(packet_t, proto)");
static_assert(offsetof(packet_t, tcp_flags) == (FN_V6 ? 41 : 17), "offsetof(packet_t, tcp_flags)");
static_assert(offsetof(packet_t, isn) == (FN_V6 ? 42 : 18), "offsetof(packet_t, isn)");
static_assert(offsetof(packet_t, mark) == (FN_V6 ? 44 : 20), "offsetof(packet_t, mark)");
static_assert(sizeof(result_t) == (FN_V6 ? 56 : 24), "sizeof(result_t)");
static_assert(offsetof(result_t, verdict) == 0, "offsetof(result_t, verdict)");
static_assert(offsetof(result_t, ctinfo) == 1, "offsetof(result_t, ctinfo)");
static_assert(offsetof(result_t, reason) == 2, "offsetof(result_t, reason)");
static_assert(offsetof(result_t, copied) == 3, "offsetof(result_t, copied)");
static_assert(offsetof(result_t, src) == (FN_V6 ? 8 : 4), "offsetof(result_t, src)");
static_assert(offsetof(result_t, dst) == (FN_V6 ? 24 : 8), "offsetof(result_t, dst)");
static_assert(offsetof(result_t, sport) == (FN_V6 ? 40 : 12), "offsetof(result_t, sport)");
static_assert(offsetof(result_t, dport) == (FN_V6 ? 42 : 14), "offsetof(result_t, dport)");
static_assert(offsetof(result_t, out_iface) == (FN_V6 ? 44 : 16), "offsetof(result_t, out_iface)");
static_assert(offsetof(result_t, probes) == (FN_V6 ? 46 : 18), "offsetof(result_t, probes)");
static_assert(offsetof(result_t, conn) == (FN_V6 ? 48 : 20), "offsetof(result_t, conn)");
#if FN_V6
static_assert(offsetof(result_t, pad2) == 4, "offsetof(result_t, pad2)");
#endif
#if FN_V6
static_assert(offsetof(result_t, pad3) == 52, "offsetof(result_t, pad3)");
#endif
static_assert(sizeof(service_t) == (FN_V6 ? 72 : 48), "sizeof(service_t)");
static_assert(offsetof(service_t, addr) == 0, "offsetof(service_t, addr)");
static_assert(offsetof(service_t, client_mask) == (FN_V6 ? 16 : 4), "offsetof(service_t, client_mask)");
static_assert(offsetof(service_t, fwmark) == (FN_V6 ? 32 : 8), "offsetof(service_t, fwmark)");
static_assert(offsetof(service_t, port) == (FN_V6 ? 36 : 12), "offsetof(service_t, port)");
static_assert(offsetof(service_t, proto) == (FN_V6 ? 38 : 14), "offsetof(service_t, proto)");
static_assert(offsetof(service_t, scheduler) == (FN_V6 ? 39 : 15), "offsetof(service_t, scheduler)");
static_assert(offsetof(service_t, first) == (FN_V6 ? 40 : 16), "offsetof(service_t, first)");
static_assert(offsetof(service_t, n) == (FN_V6 ? 44 : 20), "offsetof(service_t, n)");
static_assert(offsetof(service_t, at) == (FN_V6 ? 48 : 24), "offsetof(service_t, at)");
static_assert(offsetof(service_t, weight) == (FN_V6 ? 52 : 28), "offsetof(service_t, weight)");
static_assert(offsetof(service_t, max_weight) == (FN_V6 ? 56 : 32), "offsetof(service_t, max_weight)");
static_assert(offsetof(service_t, step) == (FN_V6 ? 60 : 36), "offsetof(service_t, step)");
static_assert(offsetof(service_t, persist) == (FN_V6 ? 64 : 40), "offsetof(service_t, persist)");
static_assert(offsetof(service_t, flags) == (FN_V6 ? 68 : 44), "offsetof(service_t, flags)");
static_assert(sizeof(server_t) == (FN_V6 ? 32 : 20), "sizeof(server_t)");
static_assert(offsetof(server_t, addr) == 0, "offsetof(server_t, addr)");
static_assert(offsetof(server_t, weight) == (FN_V6 ? 16 : 4), "offsetof(server_t, weight)");
static_assert(offsetof(server_t, active) == (FN_V6 ? 20 : 8), "offsetof(server_t, active)");
static_assert(offsetof(server_t, inactive) == (FN_V6 ? 24 : 12), "offsetof(server_t, inactive)");
static_assert(offsetof(server_t, port) == (FN_V6 ? 28 : 16), "offsetof(server_t, port)");
static_assert(offsetof(server_t, pad) == (FN_V6 ? 30 : 18), "offsetof(server_t, pad)");
static_assert(sizeof(ipvs_conn_t) == (FN_V6 ? 96 : 60), "sizeof(ipvs_conn_t)");
static_assert(offsetof(ipvs_conn_t, client) == 0, "offsetof(ipvs_conn_t, client)");
static_assert(offsetof(ipvs_conn_t, service) == (FN_V6 ? 16 : 4), "offsetof(ipvs_conn_t, service)");
static_assert(offsetof(ipvs_conn_t, server) == (FN_V6 ? 32 : 8), "offsetof(ipvs_conn_t, server)");
static_assert(offsetof(ipvs_conn_t, client_port) == (FN_V6 ? 48 : 12), "offsetof(ipvs_conn_t, client_port)");
static_assert(offsetof(ipvs_conn_t, service_port) == (FN_V6 ? 50 : 14), "offsetof(ipvs_conn_t, service_port)");
static_assert(offsetof(ipvs_conn_t, server_port) == (FN_V6 ? 52 : 16), "offsetof(ipvs_conn_t, server_port)");
static_assert(offsetof(ipvs_conn_t, proto) == (FN_V6 ? 54 : 18), "offsetof(ipvs_conn_t, proto)");
static_assert(offsetof(ipvs_conn_t, state) == (FN_V6 ? 55 : 19), "offsetof(ipvs_conn_t, state)");
static_assert(offsetof(ipvs_conn_t, mark) == (FN_V6 ? 56 : 20), "offsetof(ipvs_conn_t, mark)");
static_assert(offsetof(ipvs_conn_t, timeout) == (FN_V6 ? 60 : 24), "offsetof(ipvs_conn_t, timeout)");
static_assert(offsetof(ipvs_conn_t, expires) == (FN_V6 ? 64 : 28), "offsetof(ipvs_conn_t, expires)");
static_assert(offsetof(ipvs_conn_t, next) == (FN_V6 ? 68 : 32), "offsetof(ipvs_conn_t, next)");
static_assert(offsetof(ipvs_conn_t, wheel_next) == (FN_V6 ? 72 : 36), "offsetof(ipvs_conn_t, wheel_next)");
static_assert(offsetof(ipvs_conn_t, wheel_prev) == (FN_V6 ? 76 : 40), "offsetof(ipvs_conn_t, wheel_prev)");
static_assert(offsetof(ipvs_conn_t, dest) == (FN_V6 ? 80 : 44), "offsetof(ipvs_conn_t, dest)");
static_assert(offsetof(ipvs_conn_t, control) == (FN_V6 ? 84 : 48), "offsetof(ipvs_conn_t, control)");
static_assert(offsetof(ipvs_conn_t, n_control) == (FN_V6 ? 88 : 52), "offsetof(ipvs_conn_t, n_control)");
static_assert(offsetof(ipvs_conn_t, slot) == (FN_V6 ? 92 : 56), "offsetof(ipvs_conn_t, slot)");
static_assert(offsetof(ipvs_conn_t, flags) == (FN_V6 ? 94 : 58), "offsetof(ipvs_conn_t, flags)");
static_assert(sizeof(port_search_t) == 48, "sizeof(port_search_t)");
static_assert(offsetof(port_search_t, state) == 0, "offsetof(port_search_t, state)");
static_assert(offsetof(port_search_t, min_) == 8, "offsetof(port_search_t, min_)");
static_assert(offsetof(port_search_t, size) == 12, "offsetof(port_search_t, size)");
static_assert(offsetof(port_search_t, off) == 16, "offsetof(port_search_t, off)");
static_assert(offsetof(port_search_t, attempts) == 20, "offsetof(port_search_t, attempts)");
static_assert(offsetof(port_search_t, at) == 24, "offsetof(port_search_t, at)");
static_assert(offsetof(port_search_t, changes) == 28, "offsetof(port_search_t, changes)");
static_assert(offsetof(port_search_t, probes) == 32, "offsetof(port_search_t, probes)");
static_assert(offsetof(port_search_t, found) == 36, "offsetof(port_search_t, found)");
static_assert(offsetof(port_search_t, draws) == 40, "offsetof(port_search_t, draws)");
static_assert(offsetof(port_search_t, port) == 44, "offsetof(port_search_t, port)");
static_assert(offsetof(port_search_t, end) == 46, "offsetof(port_search_t, end)");
static_assert(offsetof(port_search_t, hard) == 47, "offsetof(port_search_t, hard)");

typedef struct { const char *name; size_t at, size; } array_place_t;
static const array_place_t fn_arrays[] = {
    {"conns", offsetof(engine_t, conns), sizeof(conn_t)},
    {"tcp", offsetof(engine_t, tcp), sizeof(tcp_t)},
    {"acct", offsetof(engine_t, acct), sizeof(acct_t)},
    {"free_ids", offsetof(engine_t, free_ids), sizeof(uint32_t)},
    {"tuples", offsetof(engine_t, tuples.buckets), sizeof(bucket_t)},
    {"sources", offsetof(engine_t, sources.buckets), sizeof(bucket_t)},
    {"chains", offsetof(engine_t, chains), sizeof(uint16_t)},
    {"chunks", offsetof(engine_t, chunks), sizeof(chunk_t)},
    {"wheel", offsetof(engine_t, wheel), sizeof(uint32_t)},
    {"wheel_busy", offsetof(engine_t, wheel_busy), sizeof(uint64_t)},
    {"bitmap_pages", offsetof(engine_t, bitmap_pages), sizeof(uint64_t)},
    {"bitmap_keys", offsetof(engine_t, bitmap_keys), sizeof(bitmap_key_t)},
    {"bitmap_index", offsetof(engine_t, bitmap_index), sizeof(uint32_t)},
    {"rules", offsetof(engine_t, rules), sizeof(rule_t)},
    {"matches", offsetof(engine_t, matches), sizeof(match_t)},
    {"targets", offsetof(engine_t, targets), sizeof(target_t)},
    {"port_slots", offsetof(engine_t, port_slots), sizeof(uint16_t)},
    {"iface_match", offsetof(engine_t, iface_match), sizeof(uint8_t)},
    {"bases", offsetof(engine_t, bases), sizeof(base_t)},
    {"nft_rules", offsetof(engine_t, nft_rules), sizeof(nft_rule_t)},
    {"nft_exprs", offsetof(engine_t, nft_exprs), sizeof(nft_expr_t)},
    {"nft_sets", offsetof(engine_t, nft_sets), sizeof(nft_set_t)},
    {"nft_elements", offsetof(engine_t, nft_elements), sizeof(nft_element_t)},
    {"nft_slots", offsetof(engine_t, nft_slots), sizeof(uint32_t)},
    {"nft_words", offsetof(engine_t, nft_words), sizeof(uint32_t)},
    {"nft_states", offsetof(engine_t, nft_states), sizeof(nft_state_t)},
    {"nft_conns", offsetof(engine_t, nft_conns), sizeof(nft_conn_t)},
    {"policies", offsetof(engine_t, policies), sizeof(uint32_t)},
    {"nft_log", offsetof(engine_t, nft_log), sizeof(uint32_t)},
    {"waypoints", offsetof(engine_t, waypoints), sizeof(waypoint_t)},
    {"jump_stack", offsetof(engine_t, jump_stack), sizeof(uint32_t)},
    {"dispatches", offsetof(engine_t, dispatches), sizeof(dispatch_t)},
    {"dispatch_slots", offsetof(engine_t, dispatch_slots), sizeof(dispatch_slot_t)},
    {"sets", offsetof(engine_t, sets), sizeof(set_t)},
    {"elements", offsetof(engine_t, elements), sizeof(element_t)},
    {"set_members", offsetof(engine_t, set_members), sizeof(uint32_t)},
    {"recent", offsetof(engine_t, recent), sizeof(recent_t)},
    {"recent_lists", offsetof(engine_t, recent_lists), sizeof(recent_list_t)},
    {"stamps", offsetof(engine_t, stamps), sizeof(uint32_t)},
    {"hashlimits", offsetof(engine_t, hashlimits), sizeof(hashlimit_t)},
    {"services", offsetof(engine_t, services), sizeof(service_t)},
    {"servers", offsetof(engine_t, servers), sizeof(server_t)},
    {"service_slots", offsetof(engine_t, service_slots), sizeof(uint32_t)},
    {"ipvs_conns", offsetof(engine_t, ipvs_conns), sizeof(ipvs_conn_t)},
    {"ipvs_heads", offsetof(engine_t, ipvs_heads), sizeof(uint32_t)},
    {"ipvs_wheel", offsetof(engine_t, ipvs_wheel), sizeof(uint32_t)},
    {"ipvs_busy", offsetof(engine_t, ipvs_busy), sizeof(uint64_t)},
    {"helps", offsetof(engine_t, helps), sizeof(help_t)},
    {"expects", offsetof(engine_t, expects), sizeof(expect_t)},
    {"expect_heads", offsetof(engine_t, expect_heads), sizeof(uint32_t)},
    {"table_memos", offsetof(engine_t, table_memos), sizeof(table_memo_t)},
    {"memos", offsetof(engine_t, memos), sizeof(memo_t)},
    {"pass_memos", offsetof(engine_t, pass_memos), sizeof(pass_memo_t)},
    {"dst16_counts", offsetof(engine_t, dst16_counts), sizeof(uint32_t)},
    {"connlimits", offsetof(engine_t, connlimits), sizeof(connlimit_t)},
    {"connlimit_heads", offsetof(engine_t, connlimit_heads), sizeof(uint32_t)},
    {"events", offsetof(engine_t, events), sizeof(event_t)},
    {"routes", offsetof(engine_t, routes), sizeof(route_t)},
    {"class_start", offsetof(engine_t, class_start), sizeof(addr_t)},
    {"class_route", offsetof(engine_t, class_route), sizeof(uint16_t)},
    {"fib_rules", offsetof(engine_t, fib_rules), sizeof(fib_rule_t)},
    {"class_of_octet", offsetof(engine_t, class_of_octet), sizeof(uint32_t)},
    {"port_start0", offsetof(engine_t, port_start[0]), sizeof(uint32_t)},
    {"port_start1", offsetof(engine_t, port_start[1]), sizeof(uint32_t)},
    {"addresses", offsetof(engine_t, addresses), sizeof(address_t)},
    {"iface_flags", offsetof(engine_t, iface_flags), sizeof(uint32_t)},
    {"macs", offsetof(engine_t, macs), sizeof(uint64_t)},
    {"neighbours", offsetof(engine_t, neighbours), sizeof(neighbour_t)},
};
#define FN_ARRAYS 68

#endif
