"""Files are written whole or not at all: modes, links, devices, full disks, kill -9."""

import contextlib
import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fuzz.kill_while_saving import engines, killed

import fastnat
from fastnat.errors import FastnatError, InputError, OutputError
from fastnat.node.model import NODE_FILES, PolicyRule
from fastnat.util import output
from fastnat.util.escapes import json_text, json_texts
from fastnat.util.output import Output, Outputs

OLD, NEW = b"old\n", b"new\n" * 100_000


@pytest.fixture(params=["without a name", "named"])
def way(request, monkeypatch, tmp_path):
    """Both ways to a temporary file: O_TMPFILE, and one with a name where the file system has none."""
    if request.param == "named":
        monkeypatch.setattr(output, "OPEN_FILES", str(tmp_path / "no-proc"))
    return request.param


@contextlib.contextmanager
def largest(size):
    """Let no file grow beyond a size, as on a disk that fills up: the write is cut short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(path, data=NEW):
    with Output(path) as file:
        file.write(data)


def test_an_old_file_is_replaced_at_once_and_keeps_its_mode(way, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(OLD)
    path.chmod(0o640)
    with Output(path) as file:
        file.write(NEW)
        file.file.flush()
        assert path.read_bytes() == OLD
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_mode_of_the_umask(way, tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


@pytest.mark.parametrize("there", [True, False])
def test_links_stay_and_their_target_is_replaced(way, tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "target", tmp_path / "link"
    if there:
        target.write_bytes(OLD)
    link.symlink_to("far/target")
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == NEW


@pytest.mark.parametrize("size", [4096, 100_000])
def test_a_disk_that_fills_up_leaves_the_old_file(way, tmp_path, size):
    path = tmp_path / "x"
    path.write_bytes(OLD)
    with largest(size), pytest.raises(OutputError, match=r"x: cannot be written: it would be larger"):
        write(path)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_known_before_the_work(way, tmp_path):
    with largest(100), pytest.raises(OutputError) as caught:
        Output(tmp_path / "x")
    assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())


def test_an_exception_or_ctrl_c_leaves_the_old_file(way, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(OLD)
    for kind in (ValueError, KeyboardInterrupt):
        with contextlib.suppress(kind), Output(path) as file:
            file.write(NEW)
            raise kind
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "the name is empty"), ("none/x", "there is no folder .*none; create it first"), (".", "it is a folder"),
        ("new/", "it is a folder"), ("file/x", "is a file"), ("loop", "[Ss]ymbolic link"), ("n" * 300, "too long"),
        ("a\0b", "null"), ("/dev/full", "no space left"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_known_at_once(tmp_path, monkeypatch, name, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=f"--json .*cannot be written: .*{why}"):
        Output(name, "--json")
    assert sorted(tmp_path.iterdir()) == before


# of pytest-xdist, which has a thread: the child only opens two files
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_folder_or_file_that_may_not_be_written_to_is_known_at_once(tmp_path):
    """As another user, for root may write everywhere."""
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "file").chmod(0o444)
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            for path in (closed / "x", tmp_path / "file"):
                with pytest.raises(OutputError, match="permission denied"):
                    Output(path)
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_pipes_and_devices_are_written_straight_through(tmp_path):
    write("/dev/null")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join()
    assert read == [NEW]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_standard_output_was_sent_to_stays_connected(tmp_path):
    """`fastnat ... --json /dev/stdout > file`: the shell's file gets all of it, in order."""
    code = (
        "import sys\nfrom fastnat.util.output import Output\nprint('before', flush=True)\n"
        "with Output('/dev/stdout') as f: f.write(b'between\\n')\nprint('behind')"
    )
    with (tmp_path / "x").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert (tmp_path / "x").read_text() == "before\nbetween\nbehind\n"


def test_two_options_do_not_write_one_file(tmp_path):
    (tmp_path / "link").symlink_to("x")
    with Outputs() as outputs:
        assert outputs.open("--plot", None) is None
        outputs.open("--json", str(tmp_path / "x"))
        with pytest.raises(InputError, match=r"--csv .*link: --json writes that file"):
            outputs.open("--csv", str(tmp_path / "link"))


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_full_tmpfs(tmp_path):
    """A real disk of 40 KB: the state does not fit; the old one is there and whole, nothing lies beside it."""
    code = (
        "import sys, pathlib\nfrom fastnat import Engine, Node, OutputError\n"
        "from fuzz.kill_while_saving import engines\n"
        "path = pathlib.Path(sys.argv[1])\nsmall = Engine(Node.example())\nsmall.save(path)\n"
        "try:\n    engines()[1].save(path)\nexcept OutputError as e:\n    print(e)\n"
        "assert len(Engine.restore(path).conntrack) == 0\nassert list(path.parent.iterdir()) == [path]\n"
    )
    mount = f'mount -t tmpfs -o size=40k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}/state'
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*words, f"mount -t tmpfs none {tmp_path}"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces, which this machine refuses")
    done = subprocess.run([*words, mount, code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "state: cannot be written: no space left on the device" in done.stdout


def test_errors_of_save_are_one_kind(tmp_path):
    nat = fastnat.Engine(fastnat.Node.example())
    for path in (tmp_path / "none" / "x", tmp_path, "/dev/full", "a\0b", ""):
        with pytest.raises(OutputError, match="cannot be written") as caught:
            nat.save(path)
        assert isinstance(caught.value, FastnatError)
        assert isinstance(caught.value, OSError)
    with pytest.raises(OutputError, match="cannot be written"):
        nat.node.save("/dev/null/x")


def test_every_file_that_a_node_may_have_is_restored(tmp_path):
    """A node with users was once saved in a state that could not be restored."""
    node = fastnat.Node.example()
    node.users, node.groups, node.nft_last = {"istio": 1337}, {"www": 33}, True
    node.load_rules6("*filter\n-A FORWARD -s fd00::9 -j DROP\nCOMMIT\n")
    node.load_nft("table ip t { chain c { type filter hook output priority 1; meta skuid istio drop } }")
    node.load_sets("create s hash:ip family inet hashsize 1024 maxelem 65536\nadd s 10.0.0.1\n")
    node.load_services("-A -t 10.96.0.1:53 -s rr\n-a -t 10.96.0.1:53 -r 10.244.1.3:53 -m -w 1\n")
    node.add_neighbour("cni0", "10.244.1.9", "02:00:00:00:00:09")
    node.policy, node.policy6 = [PolicyRule(100, "main")], [PolicyRule(100, "main")]
    assert set(node.texts()) == set(NODE_FILES)
    fastnat.Engine(node).save(tmp_path / "state")
    assert fastnat.Engine.restore(tmp_path / "state").node.texts() == node.texts()


def test_a_save_that_fails_keeps_the_old_state(tmp_path):
    first, second = engines()
    first.save(tmp_path / "state")
    with largest(8192), pytest.raises(OutputError, match="larger than files may be"):
        second.save(tmp_path / "state")
    assert len(fastnat.Engine.restore(tmp_path / "state").conntrack) == len(first.conntrack)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


@pytest.mark.slow
def test_kill_9_during_save_loses_nothing(tmp_path):
    """FASTNAT_KILLS=1000 for the long form."""
    times = int(os.environ.get("FASTNAT_KILLS", "20"))
    assert sum(killed(times, tmp_path).values()) == times


@pytest.mark.parametrize("n", [0, 1, 2, 999, 1000, 1001, 2500])
def test_a_long_list_is_written_in_parts_as_it_is_at_once(n):
    values = [{"a": k, "b": [k, "\x7f\ud800"], "c": {}} if k % 3 else k for k in range(n)]
    assert "".join(json_texts(iter(values))) == json_text(values, indent=1)
