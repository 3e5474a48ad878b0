"""Files that outlast a power cut: written whole or not at all, and on the disk when the call returns."""

import os
import tempfile
from pathlib import Path

from edge.errors import LeukoscopeError

PARTIAL_SUFFIX = ".partial"
"""The end of a temporary file's name: what a power cut leaves behind can be found and removed."""

READABLE = 0o644


def flush_folder(folder: Path) -> None:
    """Bring a folder's own entries (files made, renamed, removed) to the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, mode: int = READABLE) -> None:
    """Write a file, whole or not at all, and have it on the disk when this returns.

    Args:
        path: the file; its folder is made where it is missing.
        data: its new content.
        mode: its permissions.

    Raises:
        LeukoscopeError: it cannot be written; an earlier file is untouched.
    """
    try:
        _replace(path, data, mode)
    except OSError as error:
        raise LeukoscopeError(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)  # mkstemp's file is for its owner alone; the daemon is another user
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
