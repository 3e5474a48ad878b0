"""A TOML or JSON file as a checked struct, or one message that names the file and the key."""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.errors import InputError

LARGEST_FILE_BYTES = 16 * 2**20
"""Settings take kilobytes, the largest JSON files of a run some megabytes."""

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_AT = re.compile(r"(?P<fault>.*?)\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")

Kind = TypeVar("Kind")


def read(file: Path, kind: type[Kind], decode: Callable[..., Any], *, name: str, remedy: str) -> Kind:
    """Read a file and check every key of it.

    Args:
        file: of a few kilobytes to megabytes; it is read as a whole.
        kind: a `msgspec.Struct`.
        decode: `msgspec.toml.decode` or `msgspec.json.decode`.
        name: what messages call the file.
        remedy: what to do if it cannot be read.

    Raises:
        InputError: it cannot be read or decoded, or a key is unknown, of another type or out of range.
    """
    text = read_text(file, name=name, remedy=remedy)
    try:
        read_in: Kind = decode(text.encode(), type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise InputError(f"{name}: {_said(error)}") from error
    return read_in


def read_text(file: Path, *, name: str, remedy: str, limit_bytes: int = LARGEST_FILE_BYTES) -> str:
    """The text of a regular UTF-8 file of bounded size, with or without a byte-order mark.

    Raises:
        InputError: it is missing, no regular file, too large, or of another encoding.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise InputError(f"{name}: not a regular file; {remedy}")
        with file.open("rb") as opened:
            data = opened.read(limit_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: {getattr(error, 'strerror', error)}; {remedy}") from error
    if len(data) > limit_bytes:
        raise InputError(f"{name}: larger than {limit_bytes / 2**20:g} MiB; {remedy}")
    encoding = _BYTE_ORDER_MARKS.get(data[:2])
    if encoding:
        raise InputError(f"{name}: the file is {encoding}; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def decode_toml(text: str, *, name: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        InputError: it is no TOML; the message names the line.
    """
    try:
        tables: dict[str, Any] = msgspec.toml.decode(text.encode(), type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        found = _AT.match(str(error))
        if found and found["line"]:
            raise InputError(
                f"{name}, line {found['line']}: not TOML: {found['fault']} (column {found['column']})"
            ) from error
        raise InputError(f"{name}: not TOML: {_said(error)}") from error
    return tables


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "tables or arrays are nested too deeply"
    if "integer string conversion" in str(error):
        return "a number has too many digits"
    return str(error)
