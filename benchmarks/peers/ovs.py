"""Open vSwitch's user-space connection tracker, out of a source tree that is at hand; nothing is fetched.

The library is built out of the tree, in build/, as `configure` does with the flags that its manual recommends, and
ovs.c is linked with it. What a packet costs is what conntrack_execute() takes: parsing of the flow, the classifier,
which routes and applies rules, and other actions are left out, as are the devices.

Flows are those of the other peers but for one thing. There client n speaks to server n, and their addresses grow
together. Open vSwitch combines the hashes of both ends by XOR; built for a CPU with an instruction for CRC-32, which is
linear, these differences cancel out, and some 2,000 connections share a hash. Such flows would flatter fastnat, so that
here the servers, as many, are scattered over all addresses.
"""

import hashlib
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

from . import NAT, NAT6, SERVER

ROOT = Path(__file__).resolve().parents[2]
FLAGS = "-g -O2 -march=native"
# makes addresses of 32 bits out of small numbers, no two of them the same
SCATTER = 0x9E3779B1
MISSING = (
    "Open vSwitch was left out: make peers OVS=DIR takes a source tree of its 3.1 "
    "(Debian 12: apt install openvswitch-source; tar -xf /usr/src/openvswitch/openvswitch.tar.gz)"
)


class BuildError(Exception):
    """A source tree that cannot be used, or that does not build: names it and the remedy."""


def version(tree):
    """Return the version of a source tree; raises BuildError if it is none of Open vSwitch."""
    if not (tree / "lib" / "conntrack.h").is_file():
        raise BuildError(
            f"{tree}: not a source tree of Open vSwitch, lib/conntrack.h is missing; unpack one, and name its folder"
        )
    said = re.search(r"AC_INIT\(\[?openvswitch\]?, *\[?([\w.]+)", (tree / "configure.ac").read_text())
    if not said:
        raise BuildError(f"{tree}: configure.ac does not say which version of Open vSwitch this is")
    return said[1]


def run(words, log, hint="", **options):
    """Run a step of the build; raises BuildError with the end of what it printed, and the hint."""
    # what an outer make hands on is not meant for this one
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, **options)
    log.write(done.stdout + done.stderr)
    if done.returncode:
        log.flush()
        end = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
        raise BuildError(f"{' '.join(map(str, words))} failed; {log.name} has all of it:\n{end}{hint}")


def build(tree):
    """Build what is not built of a source tree's library, and the driver; return its path and the version."""
    tree = Path(tree).expanduser().resolve()
    release = version(tree)
    if not (tree / "configure").is_file():
        raise BuildError(f"{tree}: has no configure; run ./boot.sh there, which needs autoconf, automake and libtool")
    where = ROOT / "build" / f"openvswitch-{release}-{hashlib.sha256(bytes(tree)).hexdigest()[:8]}"
    # a tree that was configured can be built in no other folder
    if (tree / "config.status").exists():
        where = tree
    where.mkdir(parents=True, exist_ok=True)
    (ROOT / "build").mkdir(exist_ok=True)
    driver = ROOT / "build" / f"{where.name}-driver"
    print(f"Building Open vSwitch {release} in {where}: some minutes for the first time.", file=sys.stderr)
    with (ROOT / "build" / "openvswitch.log").open("w") as log:
        if not (where / "config.status").exists():
            run([tree / "configure", f"CFLAGS={FLAGS}", "--disable-ssl", "--disable-libcapng"], log, cwd=where)
        # a single target does not make the headers that others include
        makefile = "include Makefile\nlibrary: $(BUILT_SOURCES)\n\t$(MAKE) lib/libopenvswitch.la\n"
        run(["make", f"-j{os.cpu_count()}", "-f", "-", "library"], log, cwd=where, input=makefile)
        headers = [f"-I{folder / part}" for folder in (where, tree) for part in ("", "include", "lib")]
        source = Path(__file__).with_suffix(".c")
        hint = f"\novs.c knows the calls of 3.1, this is {release}"
        run(["./libtool", "--silent", "--tag=CC", "--mode=link", "gcc", *FLAGS.split(), *headers, "-o", driver, source,
             "lib/libopenvswitch.la", "-lpthread"], log, hint, cwd=where)  # fmt: skip
    return driver, release


def figures(driver, kind, live, each, crowd):
    """Return ns: new connection, established packet, and, with a crowd, new one where the ports are exhausted."""
    nat, to, port = ("dnat", SERVER, 53) if kind.dst == NAT else ("snat", NAT6 if kind.src > 2**32 else NAT, 0)
    words = [
        17 if kind.proto == "udp" else 6, ip_address(kind.src), ip_address(kind.dst), kind.dport, SCATTER * kind.spread,
        int(kind.own_ports), nat, ip_address(to), port, live, each, crowd,
    ]  # fmt: skip
    done = subprocess.run([driver, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"Open vSwitch: {done.stderr[-400:]}")
    return tuple(float(word) for word in done.stdout.split())
