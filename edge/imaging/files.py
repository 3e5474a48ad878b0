"""Image files: finding them in folders and reading them as frames."""

import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.errors import ImageError, InputError, LeukoscopeError
from edge.imaging.decode import COPY_AGAIN, decode
from edge.imaging.frame import Pixels

SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"})

MAX_FILE_BYTES = 512 << 20
"""About the size of the largest picture that is read, with 16 bits and no compression."""

NAMED = 5
"""Number of skipped files that are named in the log; the others are counted."""

log = logging.getLogger(__name__)


def read_image(path: Path, *, cut_allowed: bool = False) -> Pixels:
    """Decode an image file: 16-bit to 8, grey to RGB, transparency dropped.

    Args:
        path: a regular file, or a link to one.
        cut_allowed: as `edge.imaging.decode.decode` explains.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: the file cannot be read, is truncated, damaged or too large, or is no image.
    """
    try:
        return decode(read_bytes(path), cut_allowed=cut_allowed)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def read_or_fault(path: Path) -> Pixels | LeukoscopeError:
    """The image of a file, or why it cannot be read."""
    try:
        return read_image(path)
    except LeukoscopeError as error:
        return error


def read_bytes(path: Path) -> bytes:
    """The content of an image file; a pipe, a device or a huge file is refused before anything is read.

    Raises:
        ImageError: the file cannot be read; the message does not name it.
    """
    try:
        # A pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageError(f"{status.st_size} bytes, over {MAX_FILE_BYTES}; not a picture of a camera")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError(str(error.strerror)) from error
    if len(data) < status.st_size:
        raise ImageError(f"truncated, it ends after {len(data)} bytes; {COPY_AGAIN}")
    return data


def shown(path: Path) -> str:
    """A path as it is written in JSON: bytes of a name that are not UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


def find_images(paths: Iterable[Path]) -> list[Path]:
    """All images of the given files and folders: files as given, folders as listed by `images_below`.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            images = images_below(path)
            if not images:
                raise InputError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
            found += images
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def images_below(folder: Path) -> list[Path]:
    """The images of a folder and of those in it, in the order of their paths; what is left out is logged.

    Links are followed, each folder once. Left out are broken links, what is no regular file, folders
    that cannot be read, and what macOS leaves beside files (`._…`, `__MACOSX`).
    """
    left_out: list[str] = []
    images = sorted(_walk(folder, {_identity(folder)}, left_out))
    if left_out:
        more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        log.warning("%s: left out: %s%s", shown(folder), "; ".join(left_out[:NAMED]), more)
    return images


def _walk(folder: Path, seen: set[tuple[int, int]], left_out: list[str]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        left_out.append(f"{shown(folder)} ({error.strerror})")
        return
    for entry in entries:
        path = folder / entry.name
        reason = _why_left_out(entry, seen)
        if reason:
            left_out.append(f"{shown(path)} ({reason})")
        elif entry.is_dir():
            seen.add(_identity(path))
            yield from _walk(path, seen, left_out)
        elif path.suffix.lower() in SUFFIXES:
            yield path


def _why_left_out(entry: "os.DirEntry[str]", seen: set[tuple[int, int]]) -> str:
    """The reason, or "" for folders, images, and files without an image's suffix."""
    image = Path(entry.name).suffix.lower() in SUFFIXES
    if entry.name == "__MACOSX" or (image and entry.name.startswith("._")):
        return "written by macOS"
    try:
        if entry.is_dir():
            return "its folder is listed already" if _identity(Path(entry.path)) in seen else ""
        if image and not entry.is_file():
            broken = entry.is_symlink() and not Path(entry.path).exists()
            return "a broken link" if broken else "not a regular file"
    except OSError as error:  # a link to itself
        return str(error.strerror)
    return ""


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
