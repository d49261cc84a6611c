"""The release build: hardened, and with no path of the machine that built it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fastnat.core import datapath, datapath6

pytestmark = pytest.mark.skipif(not shutil.which("readelf"), reason="needs readelf (binutils)")
MODULES = [Path(datapath.__file__), Path(datapath6.__file__)]


def readelf(*arguments):
    return subprocess.run(["readelf", "--wide", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda p: p.name.split(".")[0])
def test_hardened(module):
    dynamic = readelf("--dynamic", module)
    assert "BIND_NOW" in dynamic
    assert not re.search(r"\((RPATH|RUNPATH)\)", dynamic), dynamic
    segments = readelf("--segments", module)
    assert "GNU_RELRO" in segments
    # read and write, but nothing on the stack is run
    assert re.search(r"GNU_STACK\s+(0x\w+\s+){5}RW\s", segments), segments
    assert "__stack_chk_fail" in readelf("--dyn-syms", module)


def test_flags_that_leave_no_mark():
    """Fortified calls are checked only where the compiler does not see that they are right: perhaps nowhere."""
    producers = readelf("--debug-dump=info", MODULES[0])
    said = re.search(r"DW_AT_producer.*?: (GNU C\d+ .*)", producers)
    assert said
    assert "-fstack-protector-strong" in said[1]
    assert "-fstack-clash-protection" in said[1]
