"""Options of TCP beside a short walk over them, and offsets of frames, drawn at random in both families."""

import random
import re
from itertools import pairwise

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, SERVER, router
from kernel.bound_rules import tcp_of

import fastnat
from fastnat.errors import InputError

NUMBERS = (0, 1, 2, 3, 4, 9, 255)
SIZES = ((0, 65535), (1, 1), (2, 513), (514, 514), (1460, 1460))


def has_option(options, number):
    """xt_tcpudp: the first byte of each; what is 0 or 1, and a length of 0, takes one byte."""
    at = 0
    while at < len(options):
        if options[at] == number:
            return True
        at += 1 if options[at] < 2 or at + 1 == len(options) else options[at + 1] or 1
    return False


def segment_size(options):
    """xt_tcpmss: the first MSS of four bytes, None where there is none."""
    at = 0
    while at < len(options):
        if options[at] == 2 and len(options) - at >= 4 and options[at + 1] == 4:
            return int.from_bytes(options[at + 2 : at + 4])
        at += 1 if options[at] < 2 or at + 1 == len(options) else options[at + 1] or 1
    return None


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_rules_that_ask_for_options_of_tcp(family, seed):
    rng = random.Random(seed)
    asks = [f"-m tcp {no}--tcp-option {number}" for number in NUMBERS if number for no in ("", "! ")]
    asks += [f"-m tcpmss {no}--mss {low}:{high}" for low, high in SIZES for no in ("", "! ")]
    rules = "*raw\n" + "".join(f"-A PREROUTING -p tcp {ask}\n" for ask in asks) + "COMMIT\n"
    nat, want = fastnat.Engine(router(family, rules)), [0] * len(asks)
    for n in range(150):
        size = rng.choice((0, 4, 4, 8, 12, 40))
        options = bytes(rng.choice((0, 1, 1, 2, 2, 3, 4, 4, 9, 255)) for _ in range(size))
        nat.process_packet(
            tcp_of(family, 1000 + n, 80, "S", opts=options, ends=(CLIENT[family], SERVER[family])), "r0", 0.0
        )
        held = [has_option(options, number) == yes for number in NUMBERS if number for yes in (True, False)]
        mss = segment_size(options)
        held += [(mss is not None and low <= mss <= high) == yes for low, high in SIZES for yes in (True, False)]
        want = [count + held_ for count, held_ in zip(want, held, strict=True)]
    said = [int(n) for n in re.findall(r"^\[(\d+):\d+\] -A PREROUTING", nat.save_rules(family), re.MULTILINE)]
    assert dict(zip(asks, said, strict=True)) == dict(zip(asks, want, strict=True))


@FAMILIES
@pytest.mark.parametrize("seed", range(4))
def test_the_first_frame_that_does_not_lie_in_the_buffer_is_named(family, seed):
    """A buffer with a broken offset is refused whole: by the number of the first frame that cannot be one."""
    rng = random.Random(seed)
    nat = fastnat.Engine(router(family))
    core = nat.stacks[family].core
    for _ in range(60):
        n, size = rng.randrange(1, 9), rng.choice((0, 100))
        offsets = sorted(rng.randrange(size + 1) for _ in range(n + 1))
        if rng.random() < 0.5:
            offsets[0] = 0
        for _ in range(rng.choice((0, 1, 1, 2))):
            offsets[rng.randrange(n + 1)] = rng.choice((-1, 0, 1, size, size + 1, -size, 1 << 32, 1 << 62))
        odd = [k for k, (a, b) in enumerate(pairwise(offsets)) if not 0 <= a <= b <= size]
        buffer = np.zeros(size, np.uint8)

        def run(offsets=offsets, buffer=buffer, n=n):
            return core.process_frames(buffer, np.array(offsets, np.int64), np.zeros(n, np.uint16), 1.0)

        if odd:
            with pytest.raises(InputError, match=f"^frame {odd[0]}: "):
                run()
        else:
            assert len(run()) == n
