"""A TOML or JSON file as a checked struct, or one message that names the file and the key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edge.errors import InputError

Kind = TypeVar("Kind")


def read(file: Path, kind: type[Kind], decode: Callable[..., Any], *, name: str, remedy: str) -> Kind:
    """Read a file and check every key of it.

    Args:
        file: of a few kilobytes to megabytes; it is read as a whole.
        kind: a `msgspec.Struct`.
        decode: `msgspec.toml.decode` or `msgspec.json.decode`.
        name: what messages call the file.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: it cannot be read or decoded, or a key is unknown, of another type or out of range.
    """
    try:
        read_in: Kind = decode(file.read_bytes(), type=kind)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; {remedy}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: {error}") from error
    return read_in
