"""A node with all that it has, in a namespace of the running kernel, and what a recording says of it.

A node is a dict: `devices` (name to MTU), `ip` (words of `ip`, those of IPv6 behind "-6 "), `sysctls`, `sets` (ipset
restore; `hurried` where their elements last seconds), `rules4` and `rules6` (None: there are no tables of the family),
and maybe `nft`, and `gone`: how many devices there were before its own. Packets go in and come out by TUN devices,
whose writes and reads the kernel answers at once: nobody waits.

A packet is (device, bytes). Among packets two other pairs may stand: (RELOAD, parts of the node that are loaded anew,
with `counters` for iptables-restore -c; `commands` are those of nft, which may be refused; `ip` and `sysctls` change
the node, whose files then stand beside them) and (PAUSE, seconds).
"""

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import re
import select
import socket
import struct
import subprocess
import tempfile
import time
from difflib import unified_diff
from pathlib import Path

import pytest

import fastnat
from fastnat.capture.pcap import Batch
from fastnat.capture.replay import Replay
from fastnat.core.layout import ExpectKind

TUNSETIFF, TUN_RAW, CLONE_NEWNET = 0x400454CA, 0x1001, 0x40000000
FIRST = {
    "net.ipv4.ip_forward": 1, "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv6.conf.all.forwarding": 1, "net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0, "net.ipv6.conf.default.addr_gen_mode": 1,
}  # fmt: skip
TOOLS = {4: "iptables-legacy", 6: "ip6tables-legacy"}
RELOAD, PAUSE = "reload", "pause"
# the node's own answers belong to no socket
MUTE = "-A OUTPUT -m owner ! --uid-owner 0 -j DROP"
# of sysctl -a, what a recording keeps
SAID = re.compile(
    r"net\.(ipv[46]\.(fib_multipath_hash_\w+|conf\.\S+\.(forwarding|force_forwarding|rp_filter|accept_local"
    r"|route_localnet|bc_forwarding|send_redirects|src_valid_mark|accept_source_route))|ipv4\.ip_forward"
    r"|netfilter\.nf_conntrack_(acct|checksum|tcp_\w+|\w*timeout\w*)) "
)
COUNTERS = ("invalid", "insert_failed", "drop", "early_drop", "error", "clash_resolve", "chaintoolong", "found")
# connections that have less than this to live may be gone on one side [s]
NEAR_THE_END = 3
# within one jiffy nobody looks which of the counted connections are over [s]
COUNTING, PACE = re.compile("ct count|connlimit"), 0.009
# what has a handle and is no rule
NAMED = ("set", "map", "counter", "quota", "limit")
# by so much the time of elements may differ between two listings [s]
SKEW = 0.4


def sh(*words, text=None):
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=text)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}\n{text or ''}")
    return done.stdout


def muted(text):
    """Return rules with one in front of raw OUTPUT that drops the node's own answers."""
    head, there, tail = text.partition("*raw\n")
    if not there:
        return f"{text}*raw\n{MUTE}\nCOMMIT\n"
    lines = tail.splitlines()
    at = next(n for n, line in enumerate(lines) if not line.startswith(":"))
    return "\n".join([f"{head}*raw", *lines[:at], MUTE, *lines[at:], ""])


def reports_groups(data):
    """Return whether a packet is a report of multicast listeners to a group, behind a hop-by-hop header."""
    at_all = len(data) > 48 and data[0] >> 4 == 6 and data[24] == 0xFF
    return at_all and (data[6], data[40]) == (0, 58) and data[48] in (131, 132, 143)


def tun(name):
    """Return what stands for a new TUN device; closed, it goes."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22s", name.encode(), TUN_RAW, b""))
    return fd


class Gateway:
    """The running kernel as such a node, in a namespace that this process enters and that goes with it."""

    def __init__(self, node):
        libc = ctypes.CDLL(None, use_errno=True)
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        self.libc, self.node, self.fds, self.raws = libc, node, {}, {}
        try:
            self._configure()
        except BaseException:
            self.close()
            raise

    def _configure(self):
        node = self.node
        for key, value in FIRST.items():
            self.sysctl(key, value)
        # indexes of interfaces are never used again: those of the node's own need not begin behind lo
        for n in range(node.get("gone", 0)):
            os.close(tun(f"gone{n}"))
        for name in node["devices"]:
            self.fds[name] = tun(name)
        links = ["link set lo up"]
        links += [f"link set {name} mtu {mtu} up" for name, mtu in node["devices"].items()]
        four = [words for words in node["ip"] if not words.startswith("-6 ")]
        six = [words[3:] for words in node["ip"] if words.startswith("-6 ")]
        sh("ip", "-batch", "-", text="\n".join([*links, *four, ""]))
        addresses = [words for words in six if words.startswith("addr")]
        sh("ip", "-6", "-batch", "-", text="\n".join([*addresses, ""]))
        # an IPv6 address is tentative for a moment
        time.sleep(0.03)
        sh("ip", "-6", "-batch", "-", text="\n".join([*(w for w in six if not w.startswith("addr")), ""]))
        for key, value in node["sysctls"].items():
            self.sysctl(key, value)
        if node["sets"]:
            sh("ipset", "restore", text=node["sets"])
        self.load_rules()
        # the elements of sets have their time from here on
        self.loaded = time.time(), time.monotonic()
        time.sleep(0.02)
        self.read()

    def load_rules(self):
        """Give the node its rules; those that are there already go."""
        for version, tool in TOOLS.items():
            if self.node[f"rules{version}"] is not None:
                sh(f"{tool}-restore", text=f"*raw\n{MUTE}\nCOMMIT\n")
                sh(f"{tool}-restore", "-c", text=muted(self.node[f"rules{version}"]))
        if "nft" in self.node:
            sh("nft", "-f", "-", text=self.node["nft"])

    def reload(self, parts):
        """Load some rules anew, or carry out commands of nft; what they do not name stays.

        Returns whether the kernel took the commands.
        """
        self.node = self.node | parts
        for version, tool in TOOLS.items():
            if f"rules{version}" in parts:
                sh(f"{tool}-restore", *(["-c"] if parts["counters"] else []), text=muted(parts[f"rules{version}"]))
        if "nft" in parts:
            sh("nft", "-f", "-", text=f"flush ruleset\n{parts['nft']}")
        if "ip" in parts:
            self.move(parts)
        if "commands" in parts:
            try:
                sh("nft", "-f", "-", text=with_handles(parts["commands"], sh("nft", "-a", "list", "ruleset")))
            except RuntimeError:
                return False
        return True

    def move(self, parts):
        """Change addresses, routes, policy rules and sysctls as far as the kernel lets; note the files of the node."""
        for words in parts["ip"]:
            with contextlib.suppress(RuntimeError):
                sh("ip", *words.split())
        for key, value in parts["sysctls"].items():
            with contextlib.suppress(FileNotFoundError):
                self.sysctl(key, value)
        # an IPv6 address is tentative for a moment, and those who have lost one are flushed a moment later
        time.sleep(0.05)
        self.read()
        parts["files"] = {name: text for name, text in self.files().items() if name.endswith((".json", ".conf"))}

    @staticmethod
    def sysctl(key, value):
        Path("/proc/sys", key.replace(".", "/")).write_text(str(value))

    def files(self):
        """Return the files of the node's directory, by their names."""
        found = {
            "addr.json": sh("ip", "-j", "addr"), "rule.json": sh("ip", "-j", "rule"),
            "rule6.json": sh("ip", "-j", "-6", "rule"),
            "route-all.json": sh("ip", "-j", "-4", "route", "show", "table", "all"),
            "route6-all.json": sh("ip", "-j", "-6", "route", "show", "table", "all"),
            "sysctl.conf": "".join(line for line in sh("sysctl", "-a").splitlines(True) if SAID.match(line)),
        }  # fmt: skip
        found |= {f"rules.v{v}": self.node[f"rules{v}"] for v in TOOLS if self.node[f"rules{v}"] is not None}
        if "nft" in self.node:
            found["rules.nft"] = self.node["nft"]
        if self.node["sets"]:
            # ipset rounds the seconds that are left down: one of two
            found["ipset.save"] = self.node["sets"] if self.node.get("hurried") else sh("ipset", "save")
        return found

    def read(self):
        """Return (device, bytes) of all that has come out."""
        out = []
        for name, fd in self.fds.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    out.append((name, os.read(fd, 65536)))
        # who has addresses of IPv6 reports its groups
        return [(name, data) for name, data in out if not reports_groups(data)]

    def send(self, iface, data):
        """Put one datagram in, or send it from the node itself."""
        if iface != "local":
            # too short to be one, or larger than the device
            with contextlib.suppress(OSError):
                os.write(self.fds[iface], data)
            return
        four = data[0] >> 4 == 4
        family = socket.AF_INET if four else socket.AF_INET6
        if family not in self.raws:
            self.raws[family] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if four:
                self.raws[family].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with contextlib.suppress(OSError):
            self.raws[family].sendto(data, (socket.inet_ntop(family, data[16:20] if four else data[24:40]), 0))

    def go(self, iface, data, expected=0):
        """Return what leaves in a packet's place; expected: how many the other side says, for which it waits."""
        self.send(iface, data)
        out = self.read()
        end = time.monotonic() + 0.1
        while len(out) < expected and time.monotonic() < end:
            select.select(list(self.fds.values()), [], [], 0.01)
            out += self.read()
        return out

    def told(self):
        """Return the table, conntrack -S and the counters of rules, those of nftables as "nft", as texts."""
        # elements of sets may have a second or two: they come first
        saved = {"nft": sh("nft", "list", "ruleset")} if "nft" in self.node else {}
        table = "".join(sh("conntrack", "-L", "-f", f"ipv{v}", "-o", "extended") for v in TOOLS)
        saved |= {v: sh(f"{tool}-save", "-c") for v, tool in TOOLS.items() if self.node[f"rules{v}"] is not None}
        totals = {}
        for word in sh("conntrack", "-S").split():
            name, _, value = word.partition("=")
            if name != "cpu":
                totals[name] = totals.get(name, 0) + int(value)
        return table, {c: totals.get(c, 0) for c in COUNTERS}, saved

    def close(self):
        for there in (*self.fds.values(), *self.raws.values()):
            os.close(there if isinstance(there, int) else there.detach())
        self.libc.setns(self.home, CLONE_NEWNET)
        os.close(self.home)


def without_chance(data):
    """Return a packet without what the kernel draws or reads from a clock: numbers of IPv6 fragments, time stamps."""
    made = bytearray(data)
    if data[0] >> 4 == 4:
        end = (data[0] & 15) * 4
        if end > 24 and data[20] == 68:
            made[10:12] = bytes(2)
            step = 4 if data[23] & 15 == 0 else 8
            for at in range(20 + step, min(20 + data[21], end), step):
                made[at : at + 4] = bytes(4)
        return bytes(made)
    at, kind_at = 40, 6
    while len(data) >= at + 8 and data[kind_at] in (0, 43, 60):
        kind_at, at = at, at + (data[at + 1] + 1) * 8
    if len(data) >= at + 8 and data[kind_at] == 44:
        made[at + 4 : at + 8] = bytes(4)
    return bytes(made)


def shown(packets):
    """Return what left as a list that can be compared and written."""
    return sorted([name, without_chance(data).hex()] for name, data in packets)


def connections(text):
    """Return {line without timeout: seconds left} of `conntrack -L -o extended`."""
    found = (re.match(r"(\S+ +\d+ \S+ +\d+) (\d+) (.*)", line) for line in text.splitlines())
    return {re.sub(r" use=\d+", "", f"{m[1]} {m[3]}").strip(): int(m[2]) for m in found if m}


def counters(text, raw=True):
    """Return [table, chain, place, counters] of chains and rules; those of the recorder are left out."""
    table, places, found = "", {}, []
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        words = line.split()
        mine = line.endswith(MUTE.removeprefix("-A OUTPUT ")) and table == "raw"
        if not line.startswith((":", "[")) or mine or (table == "raw" and not raw) or words[1] == "-":
            continue
        chain = words[0][1:] if line.startswith(":") else words[2]
        place = places[table, chain] = places.get((table, chain), -1) + (line[0] == "[") + (line[0] == ":")
        if not (table == "raw" and chain == "OUTPUT" and line[0] == ":"):
            found.append([table, chain, line[0] + str(place), words[2] if line[0] == ":" else words[0]])
    return sorted(found)


def rules_of(engine, version):
    """Return the engine's rules with their counters, in the form of Gateway.told()."""
    return engine.list_nft() if version == "nft" else engine.save_rules(int(version))


def seconds(text):
    """Return a time as nft prints it, `1m2s30ms`, in seconds."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)(ms|[dhms])", text))


def sets_of(text):
    """Return the elements of the sets of a listing: {set: {element: seconds left, None for ever}}.

    One that counts connections goes when the kernel next looks, within a second, and has none: it is left out.
    """
    found = {}
    for table in re.finditer(r"^table (.+?) \{\n(.*?)^\}", text, re.M | re.S):
        for one in re.finditer(r"^\t(?:set|map) (\S+) \{\n(.*?)^\t\}", table[2], re.M | re.S):
            elements = found[table[1], one[1]] = {}
            block = re.search(r"elements = \{(.*?)\}", one[2], re.S)
            for said in block[1].split(",") if block else ():
                left = re.search(r" expires ([0-9a-z]+)", said)
                if " ct count " not in said:
                    elements[re.sub(r" expires [0-9a-z]+", "", said).strip()] = seconds(left[1]) if left else None
    return found


def counted(text):
    """Return what the rules and objects of a listing of nftables have counted."""
    return re.findall(
        r"packets \d+ bytes \d+|over \S+ bytes|used \S+ bytes", re.sub(r"elements = \{.*?\}", "", text, flags=re.S)
    )


def other_rules(theirs, mine):
    """Return what two listings of nftables do not have in common, apart from elements that are about to end."""
    found = [*unified_diff(counted(theirs), counted(mine), "kernel", "engine", "", "", 1, "")]
    sides = sets_of(theirs), sets_of(mine)
    for name in sides[0].keys() & sides[1].keys():
        here, there = (side[name] for side in sides)
        for key in here.keys() | there.keys():
            times = [SKEW if side[key] is None else side[key] for side in (here, there) if key in side]
            if (len(times) == 1 and times[0] >= SKEW) or (len(times) == 2 and abs(times[0] - times[1]) > SKEW):
                found.append(f"set {name}: {key}: kernel {here.get(key, 'none')}, engine {there.get(key, 'none')}")
    return found


def with_handles(commands, listing):
    """Return commands of nft where rules are named by their place: `handle @2` of the third rule of its chain."""
    table, chain, places = "", "", {}
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif (m := re.search(r" # handle (\d+)$", line)) and words[0] not in NAMED:
            places.setdefault((table, chain), []).append(m[1])

    def handle(m):
        there = places.get((m[1], m[2]), [])
        return f"rule {m[1]} {m[2]} {m[3]} {there[int(m[4])] if int(m[4]) < len(there) else 999999}"

    return re.sub(r"rule (\S+ \S+) (\S+) (handle|position) @(\d+)", handle, commands)


def reload(engine, parts):
    """Load some rules of the engine's node anew, as Gateway.reload() does; return whether it took commands of nft."""
    readers = {"rules4": engine.node.load_rules, "rules6": engine.node.load_rules6, "nft": engine.node.load_nft}
    if "files" in parts:
        move(engine.node, parts["files"])
    if "commands" in parts:
        try:
            engine.change_nft(with_handles(parts["commands"], engine.list_nft(handles=True)))
        except fastnat.RuleError:
            return False
        return True
    for name, text in parts.items():
        if name in readers:
            readers[name](text)
    engine.reload(counters=parts["counters"])
    return True


def move(node, files):
    """Give a node the addresses, routes, policy rules and sysctls of other files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        fresh = fastnat.Node.load(folder)
    for name in ("interfaces", "routes", "routes6", "policy", "policy6", "sysctls"):
        setattr(node, name, getattr(fresh, name))


def answers_of(run, now, steps):
    """Return what leaves in place of each packet of a batch, as the replay of a node says."""
    # each has its time, by which its answers are known
    times = [now + n * 1e-6 for n in range(len(steps))]
    batch = Batch(times, [step[0] for step in steps], [step[1] for step in steps])
    left = {at: [] for at in times}
    for answers in run.run([batch]):
        for at, out, data in answers.emitted():
            if out != "local":
                left[at].append((out, data))
    return list(left.values())


def catch_up(run, now):
    """Let the time of a replay's engine pass up to now."""
    if run.start is not None:
        run.engine.advance(max(run.engine.now, now - run.start))


class Difference(AssertionError):
    """What differs, of which kind, behind which packets."""

    def __init__(self, kind, what, packets):
        super().__init__(f"{kind}: {what}")
        self.kind, self.packets = kind, packets


def compare(node, traffic, folder):
    """Run packets through the running kernel and a replay; raise Difference where they do not agree.

    Where connections are counted, packets come one a jiffy. traffic: `step()` gives a packet as (iface, bytes, ...), a
    list of them that the engine gets in one batch, RELOAD or PAUSE, or None at the end, `tell(step, packets)` is told
    what left, and `refused(step)` that commands were. It ends where a port is drawn at random, for the kernel draws
    another. Returns the number of packets.
    """
    kernel, packets = Gateway(node), []
    try:
        for name, text in kernel.files().items():
            (folder / name).write_text(text)
        epoch, start = kernel.loaded
        pace = pace_of(node)
        engine = fastnat.Engine(fastnat.Node.load(folder), epoch=epoch)
        run = Replay(engine)
        run.start = epoch
        while (step := traffic.step()) is not None:
            if step[0] == PAUSE:
                packets.append(step)
                time.sleep(step[1])
                continue
            if step[0] == RELOAD:
                catch_up(run, epoch + time.monotonic() - start)
                compare_ends(kernel, engine, packets)
                packets.append(step)
                pace = max(pace, pace_of(step[1]))
                taken = kernel.reload(step[1])
                catch_up(run, epoch + time.monotonic() - start)
                if reload(engine, step[1]) != taken:
                    raise Difference("refused", f"the kernel has {'not ' * (not taken)}taken {step[1]}", packets)
                if not taken:
                    traffic.refused(step)
                continue
            steps = step if isinstance(step, list) else [step]
            mine = answers_of(run, epoch + time.monotonic() - start, steps)
            if engine.stats["random_draws"]:
                return len(packets)
            for one, left in zip(steps, mine, strict=True):
                packets.append(one[:2])
                if pace:
                    # even a sleep of no time takes longer than a packet
                    time.sleep(pace)
                theirs = kernel.go(*one[:2], len(left))
                if shown(left) != shown(theirs):
                    said = f"{one[1].hex()} by {one[0]}: kernel {shown(theirs)}, engine {shown(left)}"
                    raise Difference("packet", said, packets)
                traffic.tell(one, theirs)
        catch_up(run, epoch + time.monotonic() - start)
        compare_ends(kernel, engine, packets)
    finally:
        kernel.close()
    return len(packets)


EXPECTED = re.compile(
    r"proto=(\d+) src=(\S+) dst=(\S+) (?:sport|srckey)=(\S+) (?:dport|dstkey)=(\S+) "
    r".*master-src=(\S+) master-dst=(\S+) sport=(\S+) dport=(\S+)"
)


def expected(listing):
    """Return what `conntrack -L expect` lists: protocol, addresses and ports or keys of each, and its master's."""
    return sorted(tuple(w if "." in w or ":" in w else int(w, 0) for w in found) for found in EXPECTED.findall(listing))


def expected_by(engine):
    """Return the same of an engine."""
    found = []
    for stack in engine.stacks.values():
        core, family = stack.core, stack.family
        for e in core.arrays["expects"][: core.tables["expects"]]:
            if ExpectKind(e["kind"]) in (ExpectKind.PLAIN, ExpectKind.FOLLOW, ExpectKind.PPTP):
                t, master = e["t"], core.arrays["conns"][int(e["master"])]["tuples"][0]
                ends = [family.to_text(family.unpack(side[end])) for side in (t, master) for end in ("src", "dst")]
                ports = [int(side[end]) for side in (t, master) for end in ("sport", "dport")]
                found.append((int(t["proto"]), *ends[:2], *ports[:2], *ends[2:], *ports[2:]))
    return sorted(found)


def compare_ends(kernel, engine, packets):
    """Compare the table with its timeouts, what helpers expect, conntrack -S and the counters of rules."""
    table, stats, saved = kernel.told()
    if engine.has_helpers:
        listed = "".join(sh("conntrack", "-L", "expect", "-f", f"ipv{version}") for version in TOOLS)
        both = expected(listed), expected_by(engine)
        if both[0] != both[1]:
            raise Difference("expectations", f"kernel {both[0]}, engine {both[1]}", packets)
    theirs, mine = connections(table), connections(engine.conntrack.format("extended"))
    lasting = [{line for line, left in side.items() if left > NEAR_THE_END} for side in (theirs, mine)]
    if lasting[0] - mine.keys() or lasting[1] - theirs.keys():
        only = lasting[0] - mine.keys(), lasting[1] - theirs.keys()
        raise Difference("table", f"kernel only {only[0]}, engine only {only[1]}", packets)
    late = [(line, theirs[line], mine[line]) for line in lasting[0] if abs(theirs[line] - mine[line]) > 2]
    if late:
        raise Difference("timeouts", late, packets)
    other = {c: (stats[c], engine.stats[c]) for c in COUNTERS if stats[c] != engine.stats[c]}
    if other:
        raise Difference("counters", f"kernel and engine: {other}", packets)
    for version, text in saved.items():
        if version == "nft":
            other = other_rules(text, rules_of(engine, version))
            if other:
                raise Difference("rules", "\n".join(other), packets)
            continue
        raw = "*raw" in kernel.node.get(f"rules{version}", "")
        sides = counters(text, raw), counters(rules_of(engine, version), raw)
        if sides[0] != sides[1]:
            only = [[row for row in a if row not in b] for a, b in (sides, sides[::-1])]
            raise Difference("rules", f"{version}: kernel {only[0]}, engine {only[1]}", packets)


class Given:
    """Traffic that is known."""

    def __init__(self, packets):
        self.left = list(packets)

    def step(self):
        return self.left.pop(0) if self.left else None

    def tell(self, step, packets):
        pass

    def refused(self, step):
        pass


def differs(node, packets, folder, kind):
    try:
        compare(node, Given(packets), folder)
    except Difference as difference:
        return difference.kind == kind
    return False


def without(text, rule):
    """Return rules without one of them."""
    return "".join(f"{line}\n" for line in text.splitlines() if line != rule)


def shrink(node, difference, folder, budget=60.0):
    """Return a node with fewer rules, and fewer packets, that still differ in that way."""
    packets, end = difference.packets, time.monotonic() + budget
    size = max(len(packets) // 2, 1)
    while size:
        for at in range(len(packets) - size, -1, -size):
            fewer = packets[:at] + packets[at + size :]
            if fewer and time.monotonic() < end and differs(node, fewer, folder, difference.kind):
                packets = fewer
        size //= 2
    end += budget
    reloads = [(n, parts) for n, (kind, parts) in enumerate(packets) if kind == RELOAD]
    for at, parts in [(None, node), *reloads]:
        for name in ("rules4", "rules6"):
            for rule in [r for r in (parts.get(name) or "").splitlines() if "-A " in r]:
                fewer, left = parts | {name: without(parts[name], rule)}, list(packets)
                if at is not None:
                    left[at] = (RELOAD, fewer)
                if time.monotonic() < end and differs(fewer if at is None else node, left, folder, difference.kind):
                    parts, packets, node = fewer, left, fewer if at is None else node
    return node, packets


def pace_of(said):
    """Return how far apart packets come for a node, or for what is loaded later [s]."""
    return PACE if COUNTING.search(json.dumps(said)) else 0


def told_of(kernel, iface, data, pace):
    """Return a packet and what left in its place, or what else was done, as recordings have it."""
    if iface == PAUSE:
        time.sleep(data)
        return [iface, data, []]
    if iface == RELOAD:
        kernel.reload(data)
        return [iface, data, []]
    time.sleep(pace)
    return [iface, data.hex(), shown(kernel.go(iface, data))]


def recorded(node, packets, about):
    """Return what the running kernel makes of packets."""
    kernel, begin = Gateway(node), time.monotonic()
    try:
        files, epoch = kernel.files(), time.time()
        pace = max(pace_of(said) for said in [node, *(what for kind, what in packets if kind == RELOAD)])
        out = [told_of(kernel, *packet, pace) for packet in packets]
        took = time.monotonic() - begin - sum(what for kind, what in packets if kind == PAUSE)
        table, stats, saved = kernel.told()
    finally:
        kernel.close()
    return {
        "about": about, "kernel": platform.release(), "epoch": epoch, "seconds": took, "files": files, "packets": out,
        "table": connections(table), "stats": stats, "rules": saved,
    }  # fmt: skip


def record(node, packets, path, about):
    """Write what the running kernel makes of packets."""
    path.write_text(json.dumps(recorded(node, packets, about), indent=0) + "\n")


def compare_and_keep(node, traffic, folder, name, by_chance=None):
    """Compare a gateway with the running kernel; fail where they differ, and keep a shrunk recording by that name.

    by_chance: a list to which a difference is added, instead of failing, that is not there again in both of two
    repetitions.
    """
    try:
        compare(node, traffic, folder)
    except Difference as difference:
        again = by_chance is None or all(differs(node, difference.packets, folder, difference.kind) for _ in range(2))
        if not again:
            by_chance.append(f"{name}: {difference}")
            return
        smaller, packets = shrink(node, difference, folder)
        path = Path(__file__).with_name("gateways") / f"found-{name}.json"
        record(smaller, packets, path, f"{name}: {difference.kind}")
        pytest.fail(f"{difference}\nkept in {path}")


def check(said, folder, at_once=1):
    """Assert that the engine does as a recording says; folder: an empty one for the node's files.

    at_once: how many packets the engine gets in one batch, for recordings without RELOAD and PAUSE.
    """
    for name, text in said["files"].items():
        (folder / name).write_text(text)
    engine = fastnat.Engine(fastnat.Node.load(folder), epoch=said["epoch"])
    step, run, now = said["seconds"] / len(said["packets"]), Replay(engine), said["epoch"]
    for n in range(0, len(said["packets"]), at_once):
        some = said["packets"][n : n + at_once]
        if some[0][0] == RELOAD:
            catch_up(run, now)
            reload(engine, some[0][1])
        if some[0][0] in (RELOAD, PAUSE):
            now += some[0][1] if some[0][0] == PAUSE else 0
            continue
        mine = answers_of(run, now, [(iface, bytes.fromhex(data)) for iface, data, _ in some])
        now += step * len(some)
        for k, (left, (_, data, theirs)) in enumerate(zip(mine, some, strict=True)):
            assert shown(left) == theirs, f"packet {n + k}: {data}"
    catch_up(run, now)
    check_ends(said, engine)


def check_ends(said, engine):
    """Assert that an engine has the table, the counters and the rules that a recording ends with."""
    table = connections(engine.conntrack.format("extended"))
    assert table.keys() == said["table"].keys()
    assert {line: left for line, left in table.items() if abs(left - said["table"][line]) > 2} == {}
    assert {c: engine.stats[c] for c in COUNTERS} == said["stats"]
    for version, text in said["rules"].items():
        if version == "nft":
            assert other_rules(text, rules_of(engine, version)) == []
            continue
        raw = "*raw" in said["files"].get(f"rules.v{version}", "")
        assert counters(rules_of(engine, version), raw) == counters(text, raw)
