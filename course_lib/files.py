"""Files that are written as a whole or not at all, several together or none, and by one process at a time."""

from __future__ import annotations

import errno
import glob
import os
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

UNFINISHED = ".unfinished"
"""End of the name of a file that is being written."""


class WriteError(RuntimeError):
    """A file that cannot be written; the message says which, and why. What was there before is unchanged."""


class BusyError(WriteError):
    """A file that another process writes; the message says which process."""


def why(error: BaseException) -> str:
    """What an error of the operating system means, in words: a full disk is called that."""
    full = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
    return f"disk full: {error}" if isinstance(error, OSError) and error.errno in full else str(error) or type(error).__name__


def require_regular(path: str | Path) -> None:
    """Raise ``WriteError`` where ``path`` is something else than a file or a free place for one, such as a device or a folder."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise WriteError(f"{path} is {'a folder' if path.is_dir() else 'a device'}, not a file: give the path of a file.")


def require_writable(path: str | Path) -> None:
    """Raise ``WriteError`` where a file ``path`` could not be written now; nothing is changed but that its folder is made."""
    _delete(_written_beside(_place(path), b""))


def write(path: str | Path, content: bytes | memoryview) -> None:
    """Write to a file beside ``path``, then rename: a crash or a full disk leaves what was there before.

    Raises:
        WriteError: if the disk is full, read-only, or the folder cannot be made; or ``path`` is no place for a file.
    """
    write_together({Path(path): content})


def write_together(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Write several files, or none of them. Each is first written beside its place, so that only a renaming is left to fail.

    Raises:
        WriteError: as :func:`write`; all files are then as they were before.
    """
    unfinished: dict[Path, Path] = {}
    before: dict[Path, Path | None] = {}  # copies of what is replaced, None where there is nothing
    try:
        places = {_place(path): content for path, content in contents.items()}
        for place, content in places.items():
            unfinished[place] = _written_beside(place, content)
        for place in list(places)[:-1]:  # after the last renaming nothing can fail
            before[place] = _beside(place) if place.exists() else None
            if before[place]:
                shutil.copy2(place, before[place])
        done = []
        try:
            for place, file in unfinished.items():
                os.replace(file, place)
                done.append(place)
        except BaseException:
            for place in done:
                os.replace(before[place], place) if before[place] else place.unlink()
            raise
    except OSError as error:
        raise WriteError(f"{', '.join(map(str, contents))} could not be written ({why(error)}).") from error
    finally:
        for file in (*unfinished.values(), *before.values()):
            if file:
                _delete(file)


def _place(path: str | Path) -> Path:
    """Where a file really is: a link stays one, what it leads to is written."""
    require_regular(path)
    return Path(os.path.realpath(path))


def _beside(path: Path) -> Path:
    """A name in the same folder that no other process and no other thread takes."""
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}{UNFINISHED}")


def _written_beside(path: Path, content: bytes | memoryview) -> Path:
    """Write to a new file beside ``path``, to the disk itself, and delete what killed processes left there."""
    unfinished = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*{UNFINISHED}"):
            _delete_if_left(left)
        with open(unfinished, "wb") as file:
            _locked(file.fileno())  # says to others that this file is being written
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _delete(unfinished)
        raise WriteError(f"{path} could not be written ({why(error)}).") from error
    except BaseException:
        _delete(unfinished)
        raise
    return unfinished


def _delete_if_left(file: Path) -> None:
    """Delete an unfinished file, unless a process is writing it."""
    try:
        with open(file, "r+b") as opened:
            left = _locked(opened.fileno())
    except OSError:
        return
    if left:
        _delete(file)


def _delete(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        pass  # the folder cannot be reached; there is nothing of ours in it


# --- one process at a time ------------------------------------------------------------------------------------------------


@contextmanager
def lock(path: str | Path) -> Iterator[None]:
    """Keep ``path`` for this process while the block runs, by a file ``path.lock`` beside it.

    The operating system lets go of the lock when the process ends, however it ends, so that a file ``path.lock`` which a killed
    process left is no obstacle.

    Raises:
        BusyError: if another process, or another part of this one, has it; the message names the process.
        WriteError: if the file beside cannot be made.
    """
    try:
        place = _place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(place.name + ".lock")
        descriptor = _only_holder(beside, path)
    except OSError as error:
        raise WriteError(f"{path} could not be written ({why(error)}).") from error
    try:
        yield
    finally:
        _delete(beside)
        os.close(descriptor)


def _only_holder(beside: Path, path: str | Path) -> int:
    """The descriptor of the lock file, locked; ``BusyError`` where another one has locked it."""
    while True:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _locked(descriptor):
                holder = os.read(descriptor, 300).decode(errors="replace").strip() or "another process"
                raise BusyError(
                    f"{path} is being written by {holder}: wait until that one is done, stop it, or give another file (--checkpoint)."
                )
            if beside.exists() and os.path.samestat(os.fstat(descriptor), beside.stat()):
                try:
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {platform.node() or 'this machine'}".encode())
                except OSError:
                    pass  # a full disk: the lock holds without a name
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one before has deleted the file between our opening and our locking it


def _locked(descriptor: int) -> bool:
    """Lock an open file; False where another one holds it. Where the file system knows no locks, nothing is locked: True."""
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte that nobody reads
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
