"""Files that are written whole or not at all, and checked before the work begins.

A regular file is written beside its target without a name (O_TMPFILE) and replaces the target at the end, so that every
reader finds the old file or the new one, even after kill -9. Devices and pipes are written directly.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import InputError, OutputError
from .files import name_of

OPEN_FILES = "/proc/self/fd"
DEV_FULL = os.makedev(1, 7)
# written to find out whether there is room
PROBE = bytes(4096)
# file systems that cannot make a file without a name, and folders that cannot be synchronised
NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
REMEDIES = {
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ENOTDIR: "a part of its folder's name is a file",
    errno.EACCES: "permission denied; give a file in a folder that you may write to",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "it would be larger than files may be here (ulimit -f)",
    errno.ENXIO: "nothing can be written to it",
}


class Output:
    """One output file: checked when this object is created, in place after commit().

    As a context manager it commits at the end, or discards what was written when an exception passes. Every error is an
    OutputError that names the file; `option` is the option that asked for it.
    """

    def __init__(self, path: str | Path, option: str = "") -> None:
        self.path = name_of(path)
        self.said = f"{option} {self.path}" if option else self.path
        # of a regular file: its final place, and its name until then
        self.target: Path | None = None
        self.temporary: Path | None = None
        self.old: os.stat_result | None = None
        try:
            self.file = os.fdopen(self._open(), "wb")
        except (OSError, ValueError) as error:
            raise self.error(error) from None
        if self.target:
            try:
                self._probe()
            except BaseException as error:
                self.discard()
                raise self.error(error) if isinstance(error, OSError) else error from None

    def _open(self) -> int:
        if not self.path or self.path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, "")
        with contextlib.suppress(FileNotFoundError):
            self.old = Path(self.path).stat()
        old = self.old
        if old is not None:
            if stat.S_ISDIR(old.st_mode):
                raise IsADirectoryError(errno.EISDIR, "")
            if is_full(old):
                raise OSError(errno.ENOSPC, "")
            if not stat.S_ISREG(old.st_mode):
                return os.open(self.path, os.O_WRONLY | os.O_NOCTTY)
            standard = _standard(old)
            if standard is not None:
                return os.dup(standard)
        target = _real(self.path)
        if old is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "")
        self.target = target
        return self._beside(target.parent, stat.S_IMODE(old.st_mode) & 0o777 if old else 0o666)

    def _beside(self, folder: Path, mode: int) -> int:
        """Return a new file in a folder, without a name if possible."""
        if Path(OPEN_FILES).exists():
            try:
                return os.open(folder, os.O_TMPFILE | os.O_RDWR, mode)
            except OSError as error:
                if error.errno not in NO_TMPFILE:
                    raise
        name = _free_name(folder)
        made = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self.temporary = name
        return made

    def _probe(self) -> None:
        """Write a page and remove it again; OSError if the disk is full."""
        fd = self.file.fileno()
        left = PROBE
        while left:
            left = left[os.write(fd, left) :]
        os.lseek(fd, 0, os.SEEK_SET)
        os.ftruncate(fd, 0)

    def error(self, error: OSError | ValueError) -> OutputError:
        """Return the error for what the system said; the caller raises it."""
        if isinstance(error, OutputError):
            return error
        number = error.errno if isinstance(error, OSError) else None
        if not self.path:
            why = "the name is empty"
        elif number == errno.ENOENT:
            why = f"there is no folder {_real(self.path).parent}; create it first"
        else:
            why = _why(error)
        made = OutputError(f"{self.said}: cannot be written: {why}")
        made.errno = number
        return made

    def write(self, data: bytes) -> int:
        """Append bytes."""
        try:
            return self.file.write(data)
        except OSError as error:
            raise self.error(error) from None

    def write_text(self, text: str) -> None:
        """Append text as UTF-8; a byte of a file's name that is not UTF-8 is written unchanged."""
        self.write(text.encode(errors="surrogateescape"))

    def commit(self) -> None:
        """Put the file in its place; when this returns it is on the disk, complete. After discard() do nothing."""
        if self.file.closed:
            return
        try:
            self.file.flush()
            if self.target:
                self._replace(self.target)
            self.file.close()
        except BaseException as error:
            self.discard()
            raise self.error(error) if isinstance(error, OSError) else error from None

    def _replace(self, target: Path) -> None:
        fd = self.file.fileno()
        if self.old is not None:
            now = os.fstat(fd)
            # as far as this user may; chown clears set-id bits, so the mode is set after it
            for uid, gid in ((-1, self.old.st_gid), (self.old.st_uid, -1)):
                if (uid, gid) not in ((-1, now.st_gid), (now.st_uid, -1)):
                    with contextlib.suppress(PermissionError):
                        os.fchown(fd, uid, gid)
            os.fchmod(fd, stat.S_IMODE(self.old.st_mode))
        os.fsync(fd)
        if not self.temporary:
            name = _free_name(target.parent)
            # with a folder Python calls linkat(AT_SYMLINK_FOLLOW), without one link(), which does not follow
            os.link(f"{OPEN_FILES}/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
            self.temporary = name
        self.temporary.replace(target)
        self.temporary = None
        _sync_folder(target.parent)

    def discard(self) -> None:
        """Drop what was written; an old file stays unchanged."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self.temporary:
            with contextlib.suppress(OSError):
                self.temporary.unlink()
            self.temporary = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


class Outputs(contextlib.ExitStack):
    """The files that a command writes: all are checked before its work, and put in place if it succeeds."""

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[Path, str] = {}

    def open(self, option: str, path: str | None) -> Output | None:
        """Return the file that an option asks for, None if none; InputError if another option names the same file."""
        if path is None:
            return None
        made = self.enter_context(Output(path, option))
        if made.target:
            other = self.options.setdefault(made.target, option)
            if other != option:
                raise InputError(f"{option} {path}: {other} writes that file; give another name")
        return made


def is_full(there: os.stat_result) -> bool:
    """Tell whether a file is /dev/full, to which nothing can be written."""
    return stat.S_ISCHR(there.st_mode) and there.st_rdev == DEV_FULL


def make_folder(path: str | Path, option: str = "") -> Path:
    """Return a writable folder, created if missing; OutputError if that fails."""
    name = name_of(path)
    folder, said = Path(name), f"{option} {name}" if option else name
    try:
        if not name:
            # Path("") is the working directory
            raise ValueError("the name is empty")
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "")
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        known = {errno.EEXIST: "a file of that name exists", errno.ENOENT: "no folder can be created there"}
        made = OutputError(f"{said}: cannot be written: {known.get(number or 0) or _why(error)}")
        made.errno = number
        raise made from None
    return folder


def _why(error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return REMEDIES.get(error.errno or 0) or error.strerror or str(error)


def _standard(there: os.stat_result) -> int | None:
    """Return the number of standard output or error if the shell has connected it to this file; it stays so."""
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(fd), there):
                return fd
    return None


def _real(path: str) -> Path:
    """Return the target of a path; unlike Path.resolve(), raise no exception for a loop of links."""
    return Path(os.path.realpath(path))


def _free_name(folder: Path) -> Path:
    return folder / f".fastnat-{secrets.token_hex(8)}.tmp"


def _sync_folder(folder: Path) -> None:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # a folder that may be written to, not listed
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(fd)
