"""Build the extensions: the datapath of each family, the readers of dumps and captures, and beside them small ones.

The rest is in pyproject.toml.
"""

import os
import platform
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# tuning for what is sold, not for the oldest x86-64: 7 % a new connection, and no instruction that the oldest lacks
TUNE = ["-mtune=haswell"] if platform.machine() in ("x86_64", "AMD64") else []
# vectorised copies of neighbouring fields stall on the narrower stores before them: 15 % a new connection
FAST = ["-O3", "-fno-tree-slp-vectorize", *TUNE, "-g1"]
MODES = {  # name: compiler flags, link flags, Cython directives
    "release": (FAST, [], {}),
    # it also counts which lines are run
    "checked": (["-Og", "-g", "--coverage"], ["--coverage"], {"boundscheck": True, "initializedcheck": True}),
    "asan": (
        ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"],
        ["-fsanitize=address,undefined"],
        # what lies out of bounds is met as in the release build, by the sanitizer instead of an IndexError
        {"initializedcheck": True},
    ),
    # an extra hash for every packet: what must be noticed by bench-instructions and `fastnat bench --compare`
    "slowed": ([*FAST, "-DFN_SLOWED"], [], {}),
    # of tests/mutants.py: built in a third of the time, with as few asserts as the release build
    "mutants": (["-O1"], [], {}),
}
# what a written-over stack, a string too long or a bent jump table meets; docs/reliability.md has the cost of each
HARDENING = {  # name: compiler flags, link flags
    "stack": (["-fstack-protector-strong"], []),
    "clash": (["-fstack-clash-protection"], []),
    # a distribution's compiler may bring a value of its own
    "fortify": (["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"], []),
    "link": ([], ["-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack"]),
}


def chosen(name: str, default: str, known: list[str], several: bool = False) -> list[str]:
    """Return the words of an environment variable; end with those that are known when one is not."""
    words = os.environ.get(name, default).split()
    if not set(words) <= set(known) or (len(words) != 1 and not several):
        sys.exit(f"{name}={' '.join(words)}: choose {'some' if several else 'one'} of {', '.join(known)}")
    return words


mode = chosen("FASTNAT_BUILD", "release", list(MODES))[0]
cflags, ldflags, directives = MODES[mode]
if mode in ("release", "slowed"):
    for group in chosen("FASTNAT_HARDENING", " ".join(HARDENING), list(HARDENING), several=True):
        cflags, ldflags = cflags + HARDENING[group][0], ldflags + HARDENING[group][1]
# the steps, one by one, for the tests alone: not in a wheel
with_steps = mode != "release" or chosen("FASTNAT_STEPS", "0", ["0", "1"]) == ["1"]

C_FLAGS = [
    "-std=c11",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wformat",
    "-Werror=format-security",
    # what Cython's own generated code would otherwise fill the log with
    *(f"-Wno-{w}" for w in ("unused-function", "unused-parameter", "cast-function-type")),
    *(f"-Wno-{w}" for w in ("missing-field-initializers", "unused-variable", "sign-compare")),
]
HEADERS = sorted(map(str, Path("fastnat/core").rglob("*.h")))


def extension(
    name: str, macros: tuple[tuple[str, str], ...] = (), folder: str = "fastnat/core", package: str = "fastnat.core"
) -> Extension:
    """One extension; those of the core are over its header-only steps."""
    return Extension(
        f"{package}.{name}",
        [f"{folder}/{name}.pyx"],
        define_macros=list(macros),
        include_dirs=["fastnat/core"],
        depends=HEADERS,
        extra_compile_args=[*cflags, *C_FLAGS],
        extra_link_args=ldflags,
        # CFLAGS of Python itself carry -DNDEBUG; outside release the asserts must live
        undef_macros=[] if mode in ("release", "slowed", "mutants") else ["NDEBUG"],
    )


class BuildExt(build_ext):
    """Links without the library paths of the machine that builds."""

    def build_extensions(self) -> None:
        """See build_ext."""
        # a Python of pyenv hands on the path where it was built: a folder that others may own elsewhere
        self.compiler.linker_so = [word for word in self.compiler.linker_so if not word.startswith("-Wl,-rpath")]
        super().build_extensions()


# what is made from the headers, before anybody reads it
sys.path.insert(0, "fastnat/core")
import make_layout  # noqa: E402 (its folder had to be named first)

for name, text in make_layout.made(*(Path(f"fastnat/core/{n}.h").read_text() for n in ("codes", "types"))).items():
    made = Path("fastnat/core") / name
    if not made.exists() or made.read_text() != text:
        made.write_text(text)

# the same datapath over addresses of 128 bits: codes.h says what differs
source = Path("fastnat/core/datapath.pyx").read_text()
copy = Path(f"build/cython-{mode}/datapath6.pyx")
copy.parent.mkdir(parents=True, exist_ok=True)
if not copy.exists() or copy.read_text() != source:
    copy.write_text(source)

setup(
    cmdclass={"build_ext": BuildExt},
    ext_modules=cythonize(
        [
            extension("datapath"),
            extension("datapath6", (("FN_IPV6", "1"),), f"build/cython-{mode}"),
            extension("lines", folder="fastnat/conntrack", package="fastnat.conntrack"),
            extension("frames", folder="fastnat/capture", package="fastnat.capture"),
            extension("headers", folder="fastnat/exhaustion", package="fastnat.exhaustion"),
            *([extension("_steps")] if with_steps else []),
        ],
        build_dir=f"build/cython-{mode}",
        emit_linenums=mode == "checked",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "initializedcheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            # one thread an engine, as with the GIL, which process() releases: test_group.py runs on 3.13t
            "freethreading_compatible": True,
            **directives,
        },
    ),
)
