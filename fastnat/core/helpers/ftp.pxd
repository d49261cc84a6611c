# FTP: the data connections that PORT, PASV and their successors announce.
#
# Source: nf_conntrack_ftp.c (help, find_pattern, try_rfc959, try_eprt, try_epsv_response), nf_nat_ftp.c, Linux 6.18;
# RFC 959, RFC 2428, RFC 1123 4.1.2.6.
# Invariants: no byte outside the payload is read; only a line that begins a segment right behind the end of a line is read.
# Differs from the kernel: nothing.
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from ..types cimport *
from ..conntrack.tcp_window cimport after_seq, before_seq
from ..tuples.hash cimport random_u64
from ..tuples.tuple cimport conn_tuple, tuple_dst, tuple_make, tuple_src
from .expect cimport EXPECT_BUSY, EXPECT_DONE, expect_related, EXPECTATIONS, forget_expects, help_of
from .mangle cimport mangle_tcp, tcp_payload_at

cdef enum:
    FTP_PORT = 0
    FTP_EPRT = 1
    FTP_PASV = 2
    FTP_EPSV = 3
    FTP_DROP = -1
    LINE_ENDS = 2
    PORT_ATTEMPTS = 128

# a place in a payload: text[at:end], and what was read there
cdef struct ftp_t:
    const uint8_t *text
    uint32_t end
    uint32_t at
    uint32_t n
    addr_t addr
    uint32_t port


cdef inline bint is_digit(uint8_t c) noexcept nogil:
    # is_digit: => Whether a byte is a decimal digit.
    return 48 <= c <= 57


cdef inline uint32_t read_numbers(const uint8_t *text, uint32_t n, uint32_t *numbers, uint32_t count, uint8_t sep,
                                  uint8_t term) noexcept nogil:
    # read_numbers: `count` decimal numbers between separators, and a terminator, 0 for any, behind them (try_number).
    # => How many bytes they take, 0: they are not there.
    cdef uint32_t i = 0
    cdef uint32_t k
    for k in range(count):
        numbers[k] = 0
    for k in range(n):
        if is_digit(text[k]):
            numbers[i] = numbers[i] * 10 + text[k] - 48
        elif text[k] == sep:
            # two separators side by side leave a number at 0; what does not fit in 32 bits wraps, as in the kernel
            i += 1
            if i == count:
                return 0
        else:
            # whatever else stands there ends the numbers: it has to be the terminator, behind the last of them
            return k if (term == 0 or text[k] == term) and i == count - 1 else 0
    return 0


cdef inline uint32_t read_port(const uint8_t *text, uint32_t start, uint32_t n, uint8_t delimiter, uint32_t *port) noexcept nogil:
    # read_port: => The place behind the delimiter that ends it, 0: there is none.
    cdef uint16_t value = 0
    cdef uint32_t k
    for k in range(start, n):
        if text[k] == delimiter:
            port[0] = value
            # no port at all is not accepted, but one beyond 16 bits wraps (get_port)
            return k + 1 if value else 0
        if not is_digit(text[k]):
            return 0
        value = <uint16_t>(value * 10 + text[k] - 48)
    return 0


cdef inline int hex_digit(uint8_t c) noexcept nogil:
    # hex_digit: => The value of a hexadecimal digit, -1: it is none.
    if is_digit(c):
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


cdef inline bint ends_address(uint8_t c, uint8_t delimiter) noexcept nogil:
    # ends_address: => Whether an address ends at a byte: a NUL does as well as the delimiter (xdigit2bin).
    return c == delimiter or c == 0


cdef inline uint32_t read_v4_end(const uint8_t *text, uint32_t n, uint8_t delimiter, uint32_t *words) noexcept nogil:
    # read_v4_end: the last 32 bits of an IPv6 address written as an IPv4 address, as two words (in4_pton).
    # => How many bytes it takes, 0: it is none. Recorded: a colon ends it too, and is then taken for the delimiter.
    cdef uint32_t addr = 0
    cdef uint32_t value = 0
    cdef uint32_t digits = 0
    cdef uint32_t dots = 0
    cdef uint32_t k
    for k in range(n):
        if is_digit(text[k]):
            value = value * 10 + text[k] - 48
            digits += 1
            # leading zeros are as many as one likes
            if value > 255:
                return 0
            continue
        if digits == 0:
            return 0
        addr = addr << 8 | value
        if ends_address(text[k], delimiter) or text[k] == 58:
            words[0] = addr >> 16
            words[1] = addr & 0xffff
            return k if dots == 3 else 0
        if text[k] != 46 or dots == 3:
            return 0
        dots += 1
        value = 0
        digits = 0
    return 0


cdef inline uint32_t read_v6(const uint8_t *text, uint32_t n, uint8_t delimiter, addr_t *addr) noexcept nogil:
    # read_v6: an IPv6 address up to a delimiter (in6_pton), which may be a character of addresses itself and ends them then.
    # => How many bytes it takes, 0: it is none.
    cdef uint32_t words[8]
    cdef uint32_t n_words = 0
    cdef uint32_t gap = 8
    cdef uint32_t at = 0
    cdef uint32_t start, value, k
    if n >= 2 and delimiter != 58 and text[0] == 58 and text[1] == 58:
        gap = 0
        at = 2
    while at < n and not ends_address(text[at], delimiter):
        start = at
        value = 0
        # a fifth digit is one too many, unless those in front are zeros
        while at < n and value < 0x1000 and text[at] != delimiter and hex_digit(text[at]) >= 0:
            value = value << 4 | <uint32_t>hex_digit(text[at])
            at += 1
        if at == start or at == n:
            return 0
        # four bytes are the place of two words
        if text[at] == 46 and delimiter != 46 and n_words <= 6:
            k = read_v4_end(text + start, n - start, delimiter, &words[n_words])
            if k == 0:
                return 0
            n_words += 2
            at = start + k
            break
        words[n_words] = value
        n_words += 1
        if ends_address(text[at], delimiter):
            break
        # behind eight words not even a gap of none may stand
        if text[at] != 58 or n_words == 8:
            return 0
        at += 1
        if at < n and text[at] == 58 and gap == 8:
            gap = n_words
            at += 1
        elif at == n or ends_address(text[at], delimiter):
            return 0
    # without a gap there are eight words, with one fewer
    # the text must go on behind an address: without its delimiter a segment may end within it
    if at == n or (gap == 8) != (n_words == 8):
        return 0
    addr[0] = 0
    for k in range(n_words):
        start = k if k < gap else 8 - n_words + k
        addr[0] |= <addr_t>words[k] << (FN_ADDR_BITS - 16 * (start + 1))
    return at


cdef inline uint32_t read_rfc959(ftp_t *f, const uint8_t *text, uint32_t n, uint8_t term) noexcept nogil:
    # read_rfc959: h1,h2,h3,h4,p1,p2.
    cdef uint32_t numbers[6]
    cdef uint32_t used = read_numbers(text, n, numbers, 6, 44, term)
    cdef uint32_t addr
    if used:
        addr = (numbers[0] << 24) | (numbers[1] << 16) | (numbers[2] << 8) | numbers[3]
        # recorded: in a connection of IPv6 they are the first four bytes of an address that is the sender's otherwise
        f.addr = (f.addr & ((<addr_t>1 << (FN_ADDR_BITS - 32)) - 1)) | <addr_t>addr << (FN_ADDR_BITS - 32)
        # numbers above 255 run into each other, as in the kernel, which does not look either
        f.port = ((numbers[4] << 8) | numbers[5]) & 0xffff
    return used


cdef inline bint is_delimiter(uint8_t c) noexcept nogil:
    # is_delimiter: => Whether EPRT may separate its fields by a byte: RFC 2428 allows any that prints, even letters.
    return not is_digit(c) and 33 <= c <= 126


cdef inline uint32_t read_eprt(ftp_t *f, const uint8_t *text, uint32_t n) noexcept nogil:
    # read_eprt: |1|132.235.1.2|6275| or |2|1080::8:800:200C:417A|5282|.
    cdef uint32_t numbers[4]
    cdef uint32_t used
    if n <= 3 or not is_delimiter(text[0]) or text[2] != text[0] or text[1] != (50 if FN_V6 else 49):
        return 0
    if FN_V6:
        used = read_v6(text + 3, n - 3, text[0], &f.addr)
    else:
        used = read_numbers(text + 3, n - 3, numbers, 4, 46, text[0])
        if used:
            f.addr = <addr_t>((numbers[0] << 24) | (numbers[1] << 16) | (numbers[2] << 8) | numbers[3])
    # behind the prefix of three characters, the address and its delimiter
    return read_port(text, 3 + used + 1, n, text[0], &f.port) if used else 0


cdef inline uint32_t read_epsv(ftp_t *f, const uint8_t *text, uint32_t n) noexcept nogil:
    # read_epsv: |||6446|, and nothing of the address.
    if n <= 3 or not is_delimiter(text[0]) or text[1] != text[0] or text[2] != text[0]:
        return 0
    return read_port(text, 3, n, text[0], &f.port)


cdef inline uint32_t first_digit(const ftp_t *f, uint32_t at) noexcept nogil:
    # first_digit: => Where a number begins.
    while at < f.end and not is_digit(f.text[at]):
        at += 1
    return at


cdef inline int find_pattern(ftp_t *f, const char *word, uint8_t skip, uint32_t form) noexcept nogil:
    # find_pattern: a command or reply of four letters at the beginning, and what follows `skip` (0: right behind).
    # => 1 found, 0 not, -1: it is begun or wrong, and no one can tell what the other side will make of it.
    cdef uint32_t i
    cdef uint8_t c
    # a segment may end within the word: what there is of it has to agree
    for i in range(4 if f.end > 4 else f.end):
        c = f.text[i]
        # commands may be written in small letters (RFC 959, 5.3)
        if (c & 0xdf if 97 <= c <= 122 else c) != <uint8_t>word[i]:
            return 0
    # all of it agrees, and the rest comes in the next segment: only whole announcements can be translated
    if f.end <= 4:
        return -1
    f.at = 4
    if skip:
        while f.text[f.at] != skip:
            f.at += 1
            if f.at == f.end:
                return -1
        f.at += 1
    if form == FTP_PASV:
        # RFC 1123: the parentheses may be missing
        f.at = first_digit(f, f.at)
        f.n = read_rfc959(f, f.text + f.at, f.end - f.at, 0)
    elif form == FTP_PORT:
        f.n = read_rfc959(f, f.text + f.at, f.end - f.at, 13)
    elif form == FTP_EPRT:
        f.n = read_eprt(f, f.text + f.at, f.end - f.at)
    else:
        f.n = read_epsv(f, f.text + f.at, f.end - f.at)
    return 1 if f.n else -1


cdef inline int find_command(ftp_t *f, uint32_t dir, uint32_t *form) noexcept nogil:
    # find_command: what this direction may announce.
    # only clients send commands, only servers reply
    cdef int found = find_pattern(f, b"PORT", 32, FTP_PORT) if dir == 0 else find_pattern(f, b"227 ", 0, FTP_PASV)
    form[0] = FTP_PORT if dir == 0 else FTP_PASV
    if found == 0:
        found = find_pattern(f, b"EPRT", 32, FTP_EPRT) if dir == 0 else find_pattern(f, b"229 ", 40, FTP_EPSV)
        form[0] = FTP_EPRT if dir == 0 else FTP_EPSV
    return found


cdef inline bint begins_line(const help_t *help, uint32_t dir, uint32_t seq) noexcept nogil:
    # begins_line: whether the segment stands right behind the end of a line (find_nl_seq).
    cdef uint32_t i
    for i in range(help.n_ends[dir]):
        if help.line_ends[dir][i] == seq:
            return True
    return False


cdef inline void note_line_end(help_t *help, uint32_t dir, uint32_t seq) noexcept nogil:
    # note_line_end: the newest two are kept (update_nl_seq).
    cdef uint32_t oldest
    # a retransmission of the last line
    if begins_line(help, dir, seq):
        return
    if help.n_ends[dir] < LINE_ENDS:
        help.line_ends[dir][help.n_ends[dir]] = seq
        help.n_ends[dir] += 1
        return
    oldest = 0 if before_seq(help.line_ends[dir][0], help.line_ends[dir][1]) else 1
    # an old segment must not push out what newer ones have ended
    if after_seq(seq, help.line_ends[dir][oldest]):
        help.line_ends[dir][oldest] = seq


cdef inline uint32_t put_number(uint8_t *to, uint32_t value) noexcept nogil:
    # put_number: => how many digits.
    cdef uint8_t digits[10]
    cdef uint32_t n = 0
    cdef uint32_t i
    while True:
        digits[n] = <uint8_t>(48 + value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    for i in range(n):
        to[i] = digits[n - 1 - i]
    return n


cdef inline uint32_t put_address4(uint8_t *to, addr_t addr, uint8_t sep) noexcept nogil:
    # put_address4: four numbers: an address of IPv4, or the first four bytes of one of IPv6.
    cdef uint32_t n = 0
    cdef uint32_t i
    for i in range(4):
        if i:
            to[n] = sep
            n += 1
        n += put_number(to + n, <uint32_t>(addr >> (FN_ADDR_BITS - 8 * (i + 1))) & 255)
    return n


cdef inline uint32_t put_address6(uint8_t *to, addr_t addr) noexcept nogil:
    # put_address6: eight groups of four digits.
    cdef uint32_t n = 0
    cdef uint32_t i, k, digit
    for i in range(8):
        if i:
            to[n] = 58
            n += 1
        for k in range(4):
            # all zeros are written out, and in small letters: nf_nat_ftp prints with %pI6
            digit = <uint32_t>(addr >> (FN_ADDR_BITS - 4 * (4 * i + k + 1))) & 15
            to[n] = <uint8_t>(digit + (48 if digit < 10 else 87))
            n += 1
    return n


cdef inline uint32_t format_command(uint8_t *to, uint32_t form, addr_t addr, uint32_t port) noexcept nogil:
    # format_command: what stands in the place of the numbers read (nf_nat_ftp_fmt_cmd).
    cdef uint32_t n = 0
    if form == FTP_PORT or form == FTP_PASV:
        n = put_address4(to, addr, 44)
        to[n] = 44
        n += 1 + put_number(to + n + 1, port >> 8)
        to[n] = 44
        return n + 1 + put_number(to + n + 1, port & 255)
    # RFC 2428 recommends | as delimiter: it is written whatever the client or the server had
    to[0] = 124
    if form == FTP_EPRT:
        to[1] = 50 if FN_V6 else 49
        to[2] = 124
        n = 3 + (put_address6(to + 3, addr) if FN_V6 else put_address4(to + 3, addr, 46))
    else:
        to[1] = 124
        n = 2
    to[n] = 124
    n += 1 + put_number(to + n + 1, port)
    to[n] = 124
    return n + 1


cdef inline uint32_t expect_port(engine_t *e, expect_t *x) noexcept nogil:
    # expect_port: announce the connection at its port, or another where that is announced already (nf_nat_exp_find_port).
    # => The port, 0: none.
    cdef uint32_t wanted = x.saved_port
    cdef uint32_t span = 65535 - wanted
    cdef uint32_t port = wanted
    cdef uint32_t left = span if span < PORT_ATTEMPTS else PORT_ATTEMPTS
    cdef int said
    while True:
        x.t.rest = (x.t.rest & ~<uint64_t>0xffff0000) | (<uint64_t>port << 16)
        said = expect_related(e, x)
        if said == EXPECT_DONE:
            return port
        if said != EXPECT_BUSY:
            return 0
        # linux-5.4 goes through all ports above, later kernels draw a few
        if e.profile == LINUX_5_4:
            port += 1
            if port > 65535:
                return 0
            continue
        if left == 0:
            return 0
        left -= 1
        e.stats[STAT_RANDOM_DRAWS] += 1
        port = wanted + <uint32_t>(random_u64(e) % span)


cdef inline uint32_t announce(engine_t *e, pkt_t *p, const ftp_t *f, uint32_t form) noexcept nogil:
    # announce: expect the data connection, and tell the other end the address at which NAT expects it.
    # => REASON_NONE or why the segment is dropped.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t back = conn_tuple(c, 1 - p.dir)
    # "|2|", 39 characters of an address, "|65535|"
    cdef uint8_t text[64]
    cdef uint32_t port, size
    cdef expect_t x
    # the data connection goes against the direction of the announcement, from a port that nobody knows
    # from the other direction's tuple, where NAT is undone at the one end and done at the other: as the peer's packet will come in
    x.t = tuple_make(tuple_src(back), tuple_dst(back), 0, f.port, PROTO_TCP, c.zone)
    x.master = p.ct
    x.any_sport = True
    x.saved_port = <uint16_t>f.port
    x.dir = <uint8_t>(1 - p.dir)
    x.kind = EXPECT_PLAIN
    if not c.status & (IPS_SRC_NAT | IPS_DST_NAT):
        return REASON_NONE if expect_related(e, &x) == EXPECT_DONE else REASON_HELPER
    x.kind = EXPECT_FOLLOW
    port = expect_port(e, &x)
    if port == 0:
        return REASON_HELPER
    size = format_command(text, form, tuple_dst(back), port)
    # who could not be told where to connect must not be expected there
    if not mangle_tcp(e, p, tcp_payload_at(p) + f.at, f.n, text, size):
        forget_expects(e, p.ct, EXPECTATIONS)
        return REASON_NO_ROOM
    return REASON_NONE


cdef inline uint32_t ftp_help(engine_t *e, pkt_t *p) noexcept nogil:
    # ftp_help: look at a segment of a control connection.
    # => REASON_NONE or why it is dropped.
    cdef help_t *help = help_of(e, p.ct)
    cdef ftp_t f
    cdef uint32_t at = tcp_payload_at(p)
    cdef uint32_t form = 0
    cdef uint32_t reason = REASON_NONE
    cdef uint32_t behind
    cdef bint ends_line
    cdef int found
    # before the handshake is over nobody says anything
    if p.ctinfo != IP_CT_ESTABLISHED and p.ctinfo != IP_CT_ESTABLISHED_REPLY:
        return REASON_NONE
    if at >= p.len:
        return REASON_NONE
    f.text = p.data + at
    f.end = p.len - at
    # both as the segment came: what announce writes is longer or shorter, and the next one begins behind this
    behind = p.seq + f.end
    ends_line = f.text[f.end - 1] == 10
    # in the middle of a line, or of data, the same bytes announce nothing
    if begins_line(help, p.dir, p.seq):
        f.addr = tuple_src(conn_tuple(&e.conns[p.ct], p.dir))
        f.port = 0
        found = find_command(&f, p.dir, &form)
        # half an announcement must not reach the other end: its rest could not be translated any more
        if found < 0:
            return REASON_HELPER
        # an address that is not the sender's own opens nothing (module parameter loose=0)
        if found and f.addr == tuple_src(conn_tuple(&e.conns[p.ct], p.dir)):
            reason = announce(e, p, &f, form)
    if ends_line:
        note_line_end(help, p.dir, behind)
    return reason
