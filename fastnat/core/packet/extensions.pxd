# The extension headers of IPv6: the way to the protocol behind them, and what the node reads of them itself.
#
# Source: ipv6_skip_exthdr (exthdrs_core.c), ipv6_parse_hopopts, ip6_parse_tlv (exthdrs.c), Linux 6.18; RFC 8200.
# Invariants: no byte beyond the datagram is read; a chain may say that it is longer than the datagram, what is behind it is empty.
# Differs from the kernel: IOAM is ignored and CALIPSO refused, as where nobody has set them up.
from libc.stdint cimport uint8_t, uint32_t
from .checksum cimport load_be16

# where the header of a protocol stands when nothing lies between it and the addresses
cdef extern from *:
    """
    #define FN_BEHIND_ADDRESSES (FN_V6 ? 40 : 20)
    """
    const uint32_t BEHIND_ADDRESSES "FN_BEHIND_ADDRESSES"

cdef enum:
    V6_HEADER = 40
    V6_HOPS = 0
    V6_ROUTING = 43
    V6_FRAGMENT = 44
    V6_AUTH = 51
    V6_NONE = 59
    V6_OPTIONS = 60
    # options of the hop-by-hop header
    OPTION_PAD1 = 0
    OPTION_PADN = 1
    OPTION_ROUTER_ALERT = 5
    OPTION_CALIPSO = 7
    OPTION_IOAM = 0x31
    OPTION_JUMBO = 0xc2
    # bytes of padding side by side, and options (net.ipv6.max_hbh_opts_number), at most
    MAX_PADDING = 7
    MAX_OPTIONS = 8

# what a walk through the chain found
cdef enum chain_end:
    # a protocol; the packet says that nothing follows; a part of a datagram that is not its first; it ends within the chain
    CHAIN_WHOLE = 0
    CHAIN_NONE = 1
    CHAIN_LATER = 2
    CHAIN_CUT = 3


cdef inline bint is_extension(uint32_t header) noexcept nogil:
    # is_extension: => Whether another header follows this one (ipv6_ext_hdr, NEXTHDR_NONE apart).
    return header == V6_HOPS or header == V6_ROUTING or header == V6_FRAGMENT or header == V6_OPTIONS or header == V6_AUTH


cdef inline uint32_t extension_size(const uint8_t *at, uint32_t header) noexcept nogil:
    # extension_size: => The bytes of an extension header, as it says itself.
    if header == V6_FRAGMENT:
        return 8
    return (at[1] + 2) * 4 if header == V6_AUTH else (at[1] + 1) * 8


cdef inline chain_end skip_extensions(const uint8_t *data, uint32_t total, uint32_t *proto, uint32_t *l4off) noexcept nogil:
    # skip_extensions: from the IPv6 header to the protocol that is tracked, and where it begins, at the latest at `total`.
    # => How the chain ends. Of a part that is not the first, what is said to follow the fragment header.
    cdef uint32_t at = V6_HEADER
    cdef uint32_t next_ = data[6]
    cdef bint later = False
    # behind the fragment header of a later part comes payload, whatever the header says that follows
    while is_extension(next_) and not later:
        if at + (4 if next_ == V6_FRAGMENT else 2) > total:
            return CHAIN_CUT
        later = next_ == V6_FRAGMENT and load_be16(data + at + 2) & 0xfff8 != 0
        proto[0] = data[at]
        at += extension_size(data + at, next_)
        next_ = proto[0]
    proto[0] = next_
    # a header may say more bytes than there are: nobody may read from behind the end
    l4off[0] = at if at < total else total
    if later:
        return CHAIN_LATER
    return CHAIN_NONE if next_ == V6_NONE else CHAIN_WHOLE


cdef inline bint hides_protocol(const uint8_t *data, uint32_t total) noexcept nogil:
    # hides_protocol: => Whether the datagram ends within the first four bytes of a routing header. Rules read them all and know no
    #    protocol then (ipv6_find_hdr), conntrack reads two (ipv6_skip_exthdr).
    cdef uint32_t at = V6_HEADER
    cdef uint32_t next_ = data[6]
    while is_extension(next_) and at + 2 <= total:
        if next_ == V6_ROUTING and at + 4 > total:
            return True
        next_, at = data[at], at + extension_size(data + at, next_)
    return False


cdef inline bint has_fragment_header(const uint8_t *data, uint32_t total) noexcept nogil:
    # has_fragment_header: => Whether one begins within the datagram, at its end included (find_prev_fhdr).
    cdef uint32_t at = V6_HEADER
    cdef uint32_t next_ = data[6]
    while next_ != V6_FRAGMENT:
        if not is_extension(next_) or at + 2 > total:
            return False
        next_, at = data[at], at + extension_size(data + at, next_)
    return at <= total


cdef inline bint option_taken(const uint8_t *option, uint32_t at) noexcept nogil:
    # option_taken: => Whether a packet with this hop-by-hop option goes on. at: its place in the datagram.
    # ipv6_hop_ra: a value of another length drops the packet, whatever it would say
    if option[0] == OPTION_ROUTER_ALERT:
        return option[1] == 2
    if option[0] == OPTION_JUMBO:
        # a jumbogram is longer than a datagram can be here
        return False
    # ipv6_hop_ioam refuses it where its fields would lie across words
    if option[0] == OPTION_IOAM:
        return at & 3 == 0
    # RFC 8200, 4.2: by its two highest bits an unknown option lets the packet pass, or has it dropped
    return option[0] != OPTION_CALIPSO and option[0] >> 6 == 0


cdef inline bint padding_sound(const uint8_t *option, uint32_t size, uint32_t padding) noexcept nogil:
    # padding_sound: PadN of zeros; padding: bytes of it and of what is in front.
    cdef uint32_t i
    for i in range(2, size):
        if option[i]:
            return False
    return padding <= MAX_PADDING


cdef inline bint hops_sound(const uint8_t *data, uint32_t total) noexcept nogil:
    # hops_sound: the hop-by-hop header behind the IPv6 header, which every node on the way reads.
    cdef uint32_t at = V6_HEADER + 2
    cdef uint32_t padding = 0
    cdef uint32_t n = 0
    cdef uint32_t end, size
    # the least that any extension header has
    if V6_HEADER + 8 > total:
        return False
    end = V6_HEADER + extension_size(data + V6_HEADER, V6_HOPS)
    if end > total:
        return False
    while at < end:
        if data[at] == OPTION_PAD1:
            size = 1
            padding += 1
            # RFC 4942, 2.1.9.5: more would only carry something that nobody looks at
            if padding > MAX_PADDING:
                return False
        elif at + 2 > end or at + 2 + data[at + 1] > end:
            return False
        else:
            size = data[at + 1] + 2
            if data[at] == OPTION_PADN:
                padding += size
                if not padding_sound(data + at, size, padding):
                    return False
            else:
                # options are counted, padding is not (net.ipv6.max_hbh_opts_number)
                n += 1
                padding = 0
                if n > MAX_OPTIONS or not option_taken(data + at, at):
                    return False
        at += size
    return True
