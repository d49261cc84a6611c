"""Files and pipes that commands read: everything comes out of them, and Ctrl-C is never lost while they are silent."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnat import InputError
from fastnat.util import files
from fastnat.util.files import Pipe, open_file, read_bytes


@given(st.lists(st.binary(max_size=200_000), max_size=8))
@settings(max_examples=30, deadline=None)
def test_what_is_written_comes_out(pieces):
    read, write = os.pipe()

    def fill():
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(write, rest) :]
        os.close(write)

    thread = threading.Thread(target=fill)
    thread.start()
    with open_file(f"/proc/self/fd/{read}") as file:
        os.close(read)
        assert file.read() == b"".join(pieces)
    thread.join()


@pytest.mark.parametrize("to_another_thread", [True, False])
def test_an_interruption_that_interrupts_no_system_call_is_not_lost(tmp_path, to_another_thread):
    """As one that comes right before the call: Python sees it only when the call is over, so no call may last."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def interrupt():
        if to_another_thread:
            # delivered here: the main thread's system call goes on
            signal.raise_signal(signal.SIGINT)
        else:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.05, interrupt)
    try:
        with open_file(path) as file:
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                file.read()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, previous)


def test_what_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(InputError):
            read_bytes(path)


def test_a_pipe_is_closed_once():
    read, write = os.pipe()
    os.close(write)
    pipe = Pipe(read)
    pipe.close()
    pipe.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)


def test_where_no_folder_can_be_written_memory_is(monkeypatch, tmp_path):
    """A container whose file system is read-only, and then one that has no memory of its own, either."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(files, "MEMORY", str(tmp_path))
    with files.scratch() as folder:
        assert Path(folder).parent == tmp_path
    monkeypatch.setattr(files, "MEMORY", str(tmp_path / "gone, too"))
    with pytest.raises(InputError, match="set TMPDIR"):
        files.scratch()
