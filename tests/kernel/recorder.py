"""The kernel's own answers: a network namespace with a TUN device for each interface."""

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000
SYSCTLS = {
    4: {
        "net.ipv4.ip_forward": 1,
        "net.ipv4.conf.all.rp_filter": 0,
        "net.ipv4.conf.default.rp_filter": 0,
        "net.ipv6.conf.all.disable_ipv6": 1,
        "net.ipv6.conf.default.disable_ipv6": 1,
    },
    6: {
        "net.ipv6.conf.all.forwarding": 1,
        "net.ipv6.conf.default.accept_dad": 0,
        "net.ipv6.conf.default.accept_ra": 0,
        "net.ipv6.conf.default.addr_gen_mode": 1,
    },
}


def sh(*words, text=None):
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=text)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}\n{text or ''}")
    return done.stdout


class Namespace:
    """A node in a namespace of its own; packets go in and come out as raw IP on TUN devices."""

    def __init__(self, case):
        self.name, self.fds, self.raw = f"fastnat-{os.getpid()}", {}, None
        sh("ip", "netns", "add", self.name)
        try:
            self._configure(case)
        except BaseException:
            self.close()
            raise

    def run(self, *words, text=None):
        return sh("ip", "netns", "exec", self.name, *words, text=text)

    def _configure(self, case):
        for key, value in (SYSCTLS[case.family] | case.sysctls).items():
            self.run("sysctl", "-qw", f"{key}={value}")
        self._open(case.interfaces)
        family = f"-{case.family}"
        for name, addresses in case.interfaces.items():
            sh("ip", "-n", self.name, "link", "set", name, "mtu", str(case.mtus.get(name, 1500)))
            sh("ip", "-n", self.name, "link", "set", name, "up")
            for address in addresses:
                sh("ip", family, "-n", self.name, "addr", "add", address, "dev", name)
        for route in case.routes:
            sh("ip", family, "-n", self.name, "route", "add", *route.split())
        for command in case.commands:
            sh("ip", family, "-n", self.name, *command.split())
        if case.sets:
            self.run("ipset", "restore", text=case.sets)
        tables = "iptables-legacy" if case.family == 4 else "ip6tables-legacy"
        self.run(f"{tables}-restore", text=case.rules)
        # the kernel's own answers belong to no socket
        self.run(tables, "-t", "raw", "-A", "OUTPUT", "-m", "owner", "!", "--uid-owner", "0", "-j", "DROP")
        time.sleep(0.05)
        for fd in self.fds.values():
            with contextlib.suppress(BlockingIOError):
                while os.read(fd, 65536):
                    pass

    @contextlib.contextmanager
    def inside(self):
        """What is opened here belongs to the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        there, here = os.open(f"/run/netns/{self.name}", os.O_RDONLY), os.open("/proc/self/ns/net", os.O_RDONLY)
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            libc.setns(here, CLONE_NEWNET)
            os.close(there)
            os.close(here)

    def _open(self, interfaces):
        with self.inside():
            for name in interfaces:
                fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                self.fds[name] = fd
                fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22s", name.encode(), IFF_TUN | IFF_NO_PI, b""))

    def stats(self):
        """Return `conntrack -S`, summed over CPUs."""
        totals = {}
        for word in self.run("conntrack", "-S").split():
            name, _, value = word.partition("=")
            if name != "cpu":
                totals[name] = totals.get(name, 0) + int(value)
        return totals

    def table(self, family=4):
        """Return the lines of `conntrack -L`, in any order."""
        return self.run("conntrack", "-L", "-f", f"ipv{family}", "-o", "extended").splitlines()

    def save_rules(self, family=4):
        """Return `iptables-save -c`."""
        return self.run("iptables-legacy-save" if family == 4 else "ip6tables-legacy-save", "-c")

    def ip(self, *words):
        """Return what `ip -j` says of the namespace."""
        return sh("ip", "-n", self.name, "-j", *words)

    def send(self, data):
        """Send one datagram from the node itself; all of one namespace are of one family."""
        four = data[0] >> 4 == 4
        if self.raw is None:
            with self.inside():
                self.raw = socket.socket(
                    socket.AF_INET if four else socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW
                )
                self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        dst = socket.inet_ntop(*((socket.AF_INET, data[16:20]) if four else (socket.AF_INET6, data[24:40])))
        with contextlib.suppress(OSError):
            self.raw.sendto(data, (dst, 0))

    def inject(self, iface, data):
        os.write(self.fds[iface], data)

    def pass_packet(self, iface, data, wait=0.02):
        """Inject one packet; return (interface, bytes) of what came out, or None."""
        self.inject(iface, data)
        return self.came(wait)

    def came(self, wait=0.02):
        """Return (interface, bytes) of the next packet that comes out, or None."""
        ready, _, _ = select.select(list(self.fds.values()), [], [], wait)
        for name, fd in self.fds.items():
            if fd in ready:
                return name, os.read(fd, 65536)
        return None

    def drain(self, wait=0.02):
        """Return all (interface, bytes) that come out until nothing does for `wait` seconds."""
        out = []
        while ready := select.select(list(self.fds.values()), [], [], wait)[0]:
            out += [(name, os.read(fd, 65536)) for name, fd in self.fds.items() if fd in ready]
        return out

    def close(self):
        for fd in self.fds.values():
            os.close(fd)
        if self.raw is not None:
            self.raw.close()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
