"""Records and codes have one source, codes.h and types.h; what is made from them agrees with the compiler."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastnat
from fastnat import dtypes
from fastnat.core import layout, make_layout

CORE = Path(fastnat.__file__).parent / "core"
HEADERS = (CORE / "codes.h").read_text(), (CORE / "types.h").read_text()
COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0])


def compiles(folder, *flags):
    """Tell whether layout.h of a folder does, and what the compiler says."""
    if COMPILER is None:
        pytest.skip("needs the C compiler of this Python")
    (folder / "all.c").write_text('#include "layout.h"\nint at(void) { return (int)fn_arrays[0].at; }\n')
    done = subprocess.run(
        [COMPILER, "-std=c11", "-fsyntax-only", *flags, str(folder / "all.c")], capture_output=True, text=True
    )  # fmt: skip
    return done.returncode == 0, done.stderr


@pytest.fixture
def core(tmp_path):
    """A folder with both headers and all that is made from them."""
    for name, text in zip(("codes.h", "types.h"), HEADERS, strict=True):
        (tmp_path / name).write_text(text)
    for name, text in make_layout.made(*HEADERS).items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["types.pxd", "layout.py", "layout.h"])
def test_what_is_made_is_what_the_headers_say(name):
    assert (CORE / name).read_text() == make_layout.made(*HEADERS)[name]


@pytest.mark.parametrize("flags", [(), ("-DFN_IPV6=1",)])
def test_the_compiler_confirms_every_offset(core, flags):
    assert compiles(core, *flags) == (True, "")


@pytest.mark.one_of(2)
@pytest.mark.parametrize("flags", [(), ("-DFN_IPV6=1",)])
def test_a_wrong_offset_does_not_compile(core, flags):
    text = (core / "layout.h").read_text()
    of_both = re.sub(r"#if !?FN_V6\n.*?#endif\n", "", text, flags=re.DOTALL)
    asserts = [line for line in of_both.splitlines() if line.startswith("static_assert")]
    for line in asserts[:: len(asserts) // 15]:
        number = r"== (\d+)" if "FN_V6" not in line else r"\? (\d+)" if flags else r" : (\d+)"
        wrong = re.sub(number, lambda m: m[0].replace(m[1], str(int(m[1]) + 1)), line, count=1)
        (core / "layout.h").write_text(text.replace(line, wrong))
        well, said = compiles(core, *flags)
        assert not well and "static" in said, line


def test_a_field_is_added_in_one_file(core):
    types = re.sub(r"( +uint8_t flags; +/\* CONN_\* \*/\n)", r"\1    uint64_t fresh, stale[2];\n", HEADERS[1])
    assert types != HEADERS[1]
    types = re.sub(r"static_assert\(sizeof\(conn_t\)[^;]*;\n", "", types)
    (core / "types.h").write_text(types)
    for name, text in make_layout.made(HEADERS[0], types).items():
        (core / name).write_text(text)
    assert compiles(core) == (True, "")
    assert "uint64_t stale[2]" in (core / "types.pxd").read_text()
    space = {}
    exec((core / "layout.py").read_text(), space)  # a module of ours, made a line above
    conn = dtypes.Records(dtypes.RECORDS4.ADDR, space["RECORDS"]).CONN
    assert (conn.fields["fresh"][1], conn.fields["stale"][1], conn.itemsize) == (64, 72, 88)


@pytest.mark.parametrize(("records", "family"), [(dtypes.RECORDS4, 4), (dtypes.RECORDS6, 6)])
def test_numpy_puts_every_field_where_the_compiler_does(records, family):
    h = make_layout.Headers(*HEADERS)
    for struct in h.shown():
        dtype = getattr(records, make_layout.record_name(struct))
        placed, total = h.layout(struct, family)
        assert dtype.itemsize == total, struct.name
        assert {f.name: at for f, at in placed} == {n: dtype.fields[n][1] for n in dtype.names}, struct.name


def test_codes_of_python_are_those_of_the_core():
    for enum in make_layout.Headers(*HEADERS).enums:
        assert {m.name: m.value for m in getattr(layout, make_layout.class_name(enum))} == make_layout.members_of(enum)


@pytest.mark.parametrize("code", [fastnat.Verdict.DROP, fastnat.Reason.NONE, layout.TcpState.SYN_SENT], ids=repr)
def test_numpy_compares_a_code_without_python(code):
    """NumPy takes an exception in Python code that it calls for its own purposes as an answer: Ctrl-C would be lost."""
    array, called = np.zeros(8, np.uint8), []
    sys.setprofile(lambda frame, event, what: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        equal, more = array == code, code < array
    finally:
        sys.setprofile(None)
    assert called == []
    assert (equal == (array == int(code))).all()
    assert (more == (int(code) < array)).all()
