/* ovs.c: the connection tracker of Open vSwitch's user-space datapath, at the work of the other peers.
 *
 * Prints ns a packet, the medians of batches: a new connection, an established packet, and, with a crowd, a new connection where the
 * ports to one destination are exhausted. ovs.py compiles it against a source tree and says what to do; it knows the calls of 3.1.
 *
 * What is measured is conntrack_execute() alone, on batches as large as the datapath's, once for each packet, as the action
 * ct(commit,nat(...)) does. Packets lie in the cache, their headers are found, and their checksums are said to be right, as
 * network cards say of what they receive. Without ports in the action a connection keeps its port if that is free, and else gets one
 * of 1024 to 65535, as with MASQUERADE.
 */
#include <config.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conntrack.h"
#include "dp-packet.h"
#include "ovs-rcu.h"
#include "packets.h"
#include "timeval.h"
#include "util.h"

enum { SYN = 0x02, SYN_ACK = 0x12, ACK = 0x10 };
/* batches between two points at which memory of the tables is given back; a thread of the datapath does so about as often */
enum { QUIESCE = 128 };
/* addresses of clients; beyond them connections have other ports */
enum { CLIENTS = 60000 };
/* new connections that meet exhausted ports */
enum { LATE = 1024 };

struct flow_ends {
    uint8_t src[16], dst[16]; /* network order; of IPv4 the first four bytes */
    uint16_t sport, dport;
};

struct work {
    struct flow_ends first; /* of connection 0 */
    int proto, size;        /* size: bytes of an address */
    uint32_t spread;        /* how far the destinations of two clients are apart; 0: all have the same */
    int own_ports;          /* each client has a source port of its own */
    struct nat_action_info_t nat;
    uint8_t to[16];         /* the address that is written into packets */
};

/* a packet of a batch, and the bytes that it consists of */
static struct dp_packet packets[NETDEV_MAX_BURST];
static unsigned char frames[NETDEV_MAX_BURST][256];
static struct conntrack *ct;
static unsigned batches;

static void die(const char *why)
{
    fprintf(stderr, "ovs: %s\n", why);
    exit(1);
}

static void add(uint8_t *address, int size, uint32_t n)
{
    for (int i = size - 1; i >= 0; i--, n >>= 8) {
        n += address[i];
        address[i] = n & 255;
    }
}

/* connection number k: that of the other peers but for the destination, for which ovs.py has a reason */
static struct flow_ends flow_of(const struct work *w, uint32_t k)
{
    struct flow_ends f = w->first;
    uint32_t client = k % CLIENTS;

    add(f.src, w->size, client);
    add(f.dst, w->size, client * w->spread);
    f.sport = 1024 + k / CLIENTS + (w->own_ports ? client : 0);
    return f;
}

/* clients with one source port, all to 192.0.2.1:53, as one_destination() of the kernel's peer has them */
static struct flow_ends crowd_of(const struct work *w, uint32_t k)
{
    struct flow_ends f = w->first;

    add(f.src, w->size, k);
    memcpy(f.dst, "\xc0\x00\x02\x01", 4);
    f.sport = 40000;
    return f;
}

static void put(unsigned char *at, int size, uint64_t value)
{
    for (int i = size - 1; i >= 0; i--, value >>= 8)
        at[i] = value & 255;
}

/* write packet i of a batch, as a port hands it to the datapath */
static void prepare(int i, const struct work *w, const struct flow_ends *f, int flags, uint32_t seq, uint32_t ack)
{
    int l4 = w->size == 4 ? 34 : 54, payload = w->proto == IPPROTO_TCP ? 20 : 9;
    struct dp_packet *p = &packets[i];
    unsigned char *b;

    dp_packet_use_stub(p, frames[i], sizeof frames[i]);
    b = dp_packet_put_zeros(p, l4 + payload);
    if (w->size == 4) {
        put(b + 12, 2, ETH_TYPE_IP);
        put(b + 14, 2, 0x4500);
        put(b + 16, 2, 20 + payload);
        b[22] = 64;
        b[23] = w->proto;
        memcpy(b + 26, f->src, 4);
        memcpy(b + 30, f->dst, 4);
    } else {
        put(b + 12, 2, ETH_TYPE_IPV6);
        b[14] = 0x60;
        put(b + 18, 2, payload);
        b[20] = w->proto;
        b[21] = 64;
        memcpy(b + 22, f->src, 16);
        memcpy(b + 38, f->dst, 16);
    }
    put(b + l4, 2, f->sport);
    put(b + l4 + 2, 2, f->dport);
    if (w->proto == IPPROTO_TCP) {
        put(b + l4 + 4, 4, seq);
        put(b + l4 + 8, 4, ack);
        b[l4 + 12] = 0x50;
        b[l4 + 13] = flags;
        put(b + l4 + 14, 2, 65535);
    } else {
        put(b + l4 + 4, 2, payload);
    }
    dp_packet_set_l3(p, b + 14);
    dp_packet_set_l4(p, b + l4);
    pkt_metadata_init(&p->md, u32_to_odp(1));
    *dp_packet_ol_flags_ptr(p) |= DP_PACKET_OL_RX_IP_CKSUM_GOOD | DP_PACKET_OL_RX_L4_CKSUM_GOOD;
}

/* track and translate the packets that are prepared; returns ns for each */
static double execute(const struct work *w)
{
    ovs_be16 type = htons(w->size == 4 ? ETH_TYPE_IP : ETH_TYPE_IPV6);
    long long now = time_msec();
    struct dp_packet_batch batch;
    struct timespec start, end;

    if (++batches % QUIESCE == 0)
        ovsrcu_quiesce();
    dp_packet_batch_init(&batch);
    for (int i = 0; i < NETDEV_MAX_BURST; i++)
        dp_packet_batch_add(&batch, &packets[i]);
    clock_gettime(CLOCK_MONOTONIC, &start);
    conntrack_execute(ct, &batch, type, false, true, 0, NULL, NULL, 0, 0, NULL, &w->nat, now, 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((end.tv_sec - start.tv_sec) * 1e9 + (end.tv_nsec - start.tv_nsec)) / NETDEV_MAX_BURST;
}

/* fail unless all packets of the batch belong to connections, and these in the direction of their client were translated */
static void check(const struct work *w, bool reply)
{
    bool source = w->nat.nat_action & NAT_ACTION_SRC;

    for (int i = 0; i < NETDEV_MAX_BURST; i++) {
        const uint8_t *l3 = dp_packet_l3(&packets[i]);
        const uint8_t *address = l3 + (w->size == 4 ? 12 : 8) + (source ? 0 : w->size);

        if (packets[i].md.ct_state & CS_INVALID)
            die("a packet of the benchmark was invalid");
        if (!reply && memcmp(address, w->to, w->size))
            die("a packet of the benchmark was not translated");
    }
}

/* open the connections from number `first` on: all packets up to the last one of a handshake; returns ns of a first packet */
static double open_batch(const struct work *w, uint32_t first, bool shake_hands)
{
    struct flow_ends back[NETDEV_MAX_BURST];
    double ns;

    for (int i = 0; i < NETDEV_MAX_BURST; i++) {
        struct flow_ends f = flow_of(w, first + i);
        prepare(i, w, &f, SYN, 1000, 0);
    }
    ns = execute(w);
    check(w, false);
    if (!shake_hands)
        return ns;
    for (int i = 0; i < NETDEV_MAX_BURST; i++) {
        struct flow_ends f = flow_of(w, first + i);
        memcpy(back[i].src, f.dst, 16);
        memcpy(back[i].dst, w->to, 16);
        back[i].sport = f.dport;
        back[i].dport = ntohs(((struct tcp_header *)dp_packet_l4(&packets[i]))->tcp_src);
    }
    for (int i = 0; i < NETDEV_MAX_BURST; i++)
        prepare(i, w, &back[i], SYN_ACK, 5000, 1001);
    execute(w);
    check(w, true);
    for (int i = 0; i < NETDEV_MAX_BURST; i++) {
        struct flow_ends f = flow_of(w, first + i);
        prepare(i, w, &f, ACK, 1001, 5001);
    }
    execute(w);
    check(w, false);
    return ns;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *all, int n)
{
    qsort(all, n, sizeof *all, by_size);
    return all[n / 2];
}

/* splitmix64: which established connection a packet belongs to */
static uint32_t drawn(uint64_t *state, uint32_t below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (z ^ z >> 31) % below;
}

static void address_of(const char *text, uint8_t *bytes, int *size)
{
    *size = strchr(text, ':') ? 16 : 4;
    if (inet_pton(*size == 4 ? AF_INET : AF_INET6, text, bytes) != 1)
        die("an address cannot be read");
}

int main(int argc, char **argv)
{
    struct work w = {.first = {.dport = 0}};
    uint32_t live, each, crowd, n = 0, rounds;
    double *spent, fresh, old;
    uint64_t state = 1;

    if (argc != 13)
        die("needs PROTO SRC DST DPORT SPREAD OWN_PORTS snat|dnat TO TO_PORT LIVE EACH CROWD; ovs.py gives them");
    set_program_name(argv[0]);
    w.proto = atoi(argv[1]);
    address_of(argv[2], w.first.src, &w.size);
    address_of(argv[3], w.first.dst, &w.size);
    w.first.dport = atoi(argv[4]);
    w.spread = strtoul(argv[5], NULL, 0);
    w.own_ports = atoi(argv[6]);
    address_of(argv[8], w.to, &w.size);
    memcpy(&w.nat.min_addr, w.to, w.size);
    w.nat.max_addr = w.nat.min_addr;
    w.nat.nat_action = NAT_ACTION_SRC;
    if (!strcmp(argv[7], "dnat")) {
        w.nat.nat_action = NAT_ACTION_DST | NAT_ACTION_DST_PORT;
        w.nat.min_port = w.nat.max_port = atoi(argv[9]);
    }
    live = atoi(argv[10]);
    each = atoi(argv[11]);
    crowd = atoi(argv[12]);
    rounds = each / NETDEV_MAX_BURST;
    spent = xmalloc(MAX(rounds, LATE / NETDEV_MAX_BURST) * sizeof *spent);

    ct = conntrack_init();
    conntrack_set_maxconns(ct, live + each + 2 * crowd + NETDEV_MAX_BURST);
    for (uint32_t k = 0; k < live; k += NETDEV_MAX_BURST)
        open_batch(&w, k, w.proto == IPPROTO_TCP);
    for (uint32_t r = 0; r < rounds; r++)
        spent[r] = open_batch(&w, live + NETDEV_MAX_BURST * (r + 1), false);
    fresh = median(spent, rounds);
    conntrack_get_nconns(ct, &n);
    if (n < live + rounds * NETDEV_MAX_BURST)
        die("connections of the benchmark are gone: fewer of them, or a machine that is less busy, is needed");

    for (uint32_t r = 0; r < rounds; r++) {
        for (int i = 0; i < NETDEV_MAX_BURST; i++) {
            struct flow_ends f = flow_of(&w, drawn(&state, live));
            prepare(i, &w, &f, ACK, 1001, 5001);
        }
        spent[r] = execute(&w);
        check(&w, false);
    }
    old = median(spent, rounds);
    printf("%.1f %.1f", fresh, old);

    if (crowd) {
        for (uint32_t k = 0; k < crowd + LATE; k += NETDEV_MAX_BURST) {
            for (int i = 0; i < NETDEV_MAX_BURST; i++) {
                struct flow_ends f = crowd_of(&w, k + i);
                prepare(i, &w, &f, SYN, 1000, 0);
            }
            double ns = execute(&w);
            if (k >= crowd)
                spent[(k - crowd) / NETDEV_MAX_BURST] = ns;
        }
        printf(" %.1f", median(spent, LATE / NETDEV_MAX_BURST));
    }
    printf("\n");
    return 0;
}
