"""What the engine answered to seeded random rules and traffic, as checksums: what says something else is noticed.

    PYTHONPATH=tests python tests/behaviour/answers.py      writes data/answers.json anew

Cases of `kernel/random_case.py` are of the generator by which `make kernel-test` compares the engine with the running
kernel; programs of `fuzz/programs.py` call the whole interface, in both families. The file does not say that an answer
is right, only that it is the same: a change of behaviour that is meant writes it anew.
"""

import contextlib
import json
import random
import sys
import tempfile
import zlib
from pathlib import Path

import fastnat

PATH = Path(__file__).resolve().parents[1] / "data/answers.json"
CASES, PACKETS, PROGRAMS, CALLS, TALKS, NFT = 48, 150, 64, 30, 48, 40


def state_of(nat):
    """Return all that can be seen of an engine."""
    said = [nat.conntrack.format("proc"), json.dumps(nat.stats)]
    said += [f"{c.status} {c.timeout}" for c in nat.conntrack]
    said += [nat.save_rules(version) for version in nat.stacks]
    return "\n".join(said).encode()


def case_answers(seed):
    """Return a checksum for each packet of a random case, and one of the state at the end."""
    from kernel.random_case import random_case

    case = random_case(seed, PACKETS)
    return answers_to(fastnat.Engine(case.node(), events=100_000), case.traffic(), 20.0)


def talk_answers(seed):
    """Return a checksum for each datagram of a random control connection, and one of the state at the end."""
    from behaviour import talks

    return answers_to(fastnat.Engine(talks.node(seed % 2 == 1), seed=seed, events=100_000), talks.talk(seed), 1.0)


def nft_answers(seed):
    """Return checksums as case_answers does, for random rules of nftables; every other seed is of IPv6."""
    from kernel.cases import INTERFACES, INTERFACES6, ROUTES, ROUTES6, Case
    from kernel.random_traffic import changed, traffic
    from kernel.test_nftables import extended, ruleset

    rng, family = random.Random(f"answers {seed}"), 6 if seed % 2 else 4
    ends = (INTERFACES6, ROUTES6) if family == 6 else (INTERFACES, ROUTES)
    case = Case("", *ends, lambda: traffic(f"answers {seed}", family, PACKETS), family=family)
    while True:
        node = case.node()
        try:
            node.load_nft(ruleset(rng, family))
            nat = fastnat.Engine(node, seed=seed, events=100_000, epoch=1.7e9)
            break
        except fastnat.FastnatError:
            # nft would refuse it as well
            continue
    return answers_to(nat, changed(case.traffic(), lambda data: extended(rng, data)), 20.0)


def answers_to(nat, talk, pause):
    """Return a checksum of what becomes of each datagram, and one of the state; pause: after each 50 of them [s]."""
    found, now = [], 0.0
    with contextlib.suppress(StopIteration):
        iface, data = next(talk)
        while True:
            verdict, out = nat.process_packet(data, iface, now)
            found.append(zlib.crc32(bytes([verdict]) + (out or b"")))
            now += 0.01 if len(found) % 50 else pause
            iface, data = talk.send(out if verdict == fastnat.Verdict.FORWARD else None)
    events = b"".join(e.tobytes() for e in nat.all_events())
    return [*found, zlib.crc32(state_of(nat) + events)]


def program_answers(seed):
    """Return a checksum of results and state after each call of a random program."""
    from fuzz import programs

    class Told(programs.Run):
        """A run that keeps what it was told."""

        def process(self, call, now):
            super().process(call, now)
            self.said = self.last[1].tobytes()

        def reply(self, call, now):
            super().reply(call, now)
            self.said = self.last[1].tobytes() if self.last else b""

        def frames(self, call, now):
            sent = programs.array(call["packets"])
            buffer, offsets = programs.raw_of(programs.np.random.default_rng(call["seed"]), sent)
            out = self.engine.process_frames(buffer, offsets, sent["iface"].copy(), now)
            self.said = out.tobytes() + buffer.tobytes()

        def datagrams(self, call, now):
            self.said = b""
            for iface, data in call["said"]:
                verdict, out = self.engine.process_packet(bytes.fromhex(data), iface, now)
                self.said += bytes([verdict]) + (out or b"")

    program = programs.generate(seed, CALLS, 64)
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = Told(program, Path(folder))
        except fastnat.FastnatError as error:
            return [zlib.crc32(type(error).__name__.encode())]
        found = []
        for call in program["calls"]:
            run.said = b""
            run.do(call)
            found.append(zlib.crc32(run.said + state_of(run.engine)))
        run.engine.check()
    return found


def main():
    """Write the file."""
    said = {
        "made by": "PYTHONPATH=tests python tests/behaviour/answers.py",
        "cases": [case_answers(seed) for seed in range(CASES)],
        "talks": [talk_answers(seed) for seed in range(TALKS)],
        "programs": [program_answers(seed) for seed in range(PROGRAMS)],
        "nft": [nft_answers(seed) for seed in range(NFT)],
    }
    PATH.write_text(json.dumps(said, separators=(",", ":")).replace("],", "],\n") + "\n")


if __name__ == "__main__":
    sys.exit(main())
