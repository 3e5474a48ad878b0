"""What one check found."""

from typing import Literal

import msgspec

State = Literal["ok", "unknown", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        name: of the check.
        state: "warning" if the box works, but not for long or not well; "unknown" if nothing here can tell.
        message: what was seen and, if it is not ok, what to do.
        command: a command that mends it or shows more; "" for none.
        key: the setting that it concerns, as table and key; empty for none.
    """

    name: str
    state: State
    message: str
    command: str = ""
    key: tuple[str, ...] = ()


def ok(name: str, message: str) -> Finding:
    """All is well."""
    return Finding(name=name, state="ok", message=message)


def unknown(name: str, message: str) -> Finding:
    """Nothing here can tell; nothing is to be done."""
    return Finding(name=name, state="unknown", message=message)


def warning(name: str, message: str, command: str = "", key: tuple[str, ...] = ()) -> Finding:
    """It works, but not for long or not well."""
    return Finding(name=name, state="warning", message=message, command=command, key=key)


def failed(name: str, message: str, command: str = "", key: tuple[str, ...] = ()) -> Finding:
    """It does not work."""
    return Finding(name=name, state="failed", message=message, command=command, key=key)
