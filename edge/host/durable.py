"""Files that survive a power cut: written whole or not at all, and on the disk when the call returns."""

import os
import secrets
from pathlib import Path

from edge.errors import LeukoscopeError

PARTIAL_SUFFIX = ".partial"
"""The end of a temporary file's name: what a power cut leaves behind can be found and removed."""

READABLE = 0o644


def flush_folder(folder: Path) -> None:
    """Sync a folder's entries (files created, renamed, removed) to the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, mode: int | None = READABLE) -> None:
    """Write a file, whole or not at all, and have it on the disk when this returns.

    Args:
        path: the file; its folder is made if it is missing.
        data: its new content.
        mode: its permissions, whatever the umask; None for those that the umask gives.

    Raises:
        LeukoscopeError: it cannot be written; an earlier file is untouched.
    """
    try:
        _replace(path, data, mode)
    except OSError as error:
        raise LeukoscopeError(f"{path}: cannot be written: {error.strerror}") from error


def _replace(path: Path, data: bytes, mode: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    created = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, created, 0o666 if mode is None else 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if mode is not None:  # the daemon, another user, reads what root has written
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
