"""What is wrong with a settings file, key by key: unknown keys with the nearest one, values with what is allowed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from edge.host.secrets import redact
from edge.host.text import harmless

SHOWN_CHARACTERS = 40
_MAY_HOLD_LINES = {("camera", "source")}
"""A GStreamer pipeline may be written over several lines."""

_UNITS = {
    "s": "seconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "mb": "megabytes",
    "px": "pixels",
    "k": "kelvin",
    "levels": "8-bit levels",
}
_UNITS_OF = {
    "fps": "frames per second",
    "width": "pixels",
    "height": "pixels",
    "crop": "pixels",
    "min_brightness": "8-bit levels",
    "max_brightness": "8-bit levels",
    "target": "white cells",
}
_KINDS = {
    "IntType": "a whole number",
    "FloatType": "a number",
    "StrType": "text in quotes",
    "BoolType": "true or false",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        key: of a table, or of a table and a key.
        text: what is wrong and what is allowed, without the place.
    """

    key: tuple[str, ...]
    text: str


def find_faults(found: dict[str, Any], kind: type[msgspec.Struct]) -> list[Fault]:
    """Every fault of decoded settings, in the order of the file; empty if `msgspec.convert` accepts them.

    Args:
        found: tables by name, as TOML gives them.
        kind: of the whole file: a struct whose fields are the tables, each a struct with defaults.
    """
    tables = {field.encode_name: field.type for field in _fields(kind)}
    faults: list[Fault] = []
    for name, table in found.items():
        expected = tables.get(name)
        if not isinstance(expected, inspect.StructType):
            faults.append(Fault((name,), _unknown_table(name, table, tables)))
        elif not isinstance(table, dict):
            faults.append(
                Fault((name,), f"{harmless(name)} is a table: write [{harmless(name)}] above its keys")
            )
        else:
            faults += _of_table(name, table, expected.cls)
    return faults


def _of_table(name: str, table: dict[str, Any], kind: type[msgspec.Struct]) -> list[Fault]:
    """Faults of each key; if every key is right alone, the fault of the keys together."""
    faults = [
        Fault((name, key), text) for key, value in table.items() if (text := _of_key(name, key, value, kind))
    ]
    if faults:
        return faults
    try:
        msgspec.convert(table, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        text = str(error).partition(" - at `$")[0]
        key = next((key for key in table if f"{name}.{key} " in text), "")
        return [Fault((name, key) if key else (name,), redact(text))]
    return []


def _of_key(name: str, key: str, value: Any, owner: type[msgspec.Struct]) -> str:
    """What is wrong with one key, or "": tried alone, since every other key has a default."""
    fields = {field.encode_name: field for field in _fields(owner)}
    if key not in fields:
        return f'unknown key "{harmless(key)}" in [{name}]{_nearest(key, list(fields))}'
    where = f"[{name}] {key}"
    kind = fields[key].type
    if isinstance(value, str) and (sign := _control_character(value, (name, key) in _MAY_HOLD_LINES)):
        return f"{where} holds the control character {harmless(sign)}; remove it"
    try:
        msgspec.convert({key: value}, owner)
    except (msgspec.ValidationError, RecursionError) as error:
        text, _, place = str(error).partition(" - at `$")
        allowed = (
            allowed_values(key, kind) if place else ""
        )  # without a place, the struct's own rule refused it
        given = f"give {allowed}" if allowed else redact(text)
        return f"{where} = {_shown(value)}: {given}{_meant(value, kind)}" if place else redact(text)
    return ""


def allowed_values(key: str, kind: inspect.Type) -> str:
    """The allowed values of a key, in words: "a number from 0 to 1000, frames per second"."""
    if isinstance(kind, inspect.UnionType):
        kind = next(part for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.Metadata):
        described = (kind.extra_json_schema or {}).get("description")
        return str(described) if described else allowed_values(key, kind.type)
    if isinstance(kind, inspect.LiteralType):
        return _either([f'"{value}"' for value in kind.values])
    words = _KINDS.get(type(kind).__name__, "")
    if isinstance(kind, inspect.StrType):
        if kind.pattern is not None:
            return ""
        longest = f" of at most {kind.max_length} characters" if kind.max_length is not None else ""
        return words + longest if not kind.min_length else f"{words}, not empty"
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        unit = _UNITS_OF.get(key) or _UNITS.get(key.rpartition("_")[2], "")
        return f"{words}{_range(kind)}" + (f", {unit}" if unit else "")
    return words


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    least = f" from {_number(kind.ge)}" if kind.ge is not None else ""
    least = f" above {_number(kind.gt)}" if kind.gt is not None else least
    return least + (f" to {_number(kind.le)}" if kind.le is not None else "")


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _unknown_table(name: str, table: Any, tables: dict[str, Any]) -> str:
    if isinstance(table, dict):
        return f"unknown table [{harmless(name)}]{_nearest(name, list(tables), '[', ']')}"
    homes = [
        home for home, kind in tables.items() if name in {field.encode_name for field in _fields(kind.cls)}
    ]
    advice = (
        f"; it belongs under [{homes[0]}]" if homes else "; every key belongs under a table such as [camera]"
    )
    return f'key "{harmless(name)}" stands before the first table{advice}'


def _nearest(name: str, known: list[str], before: str = '"', after: str = '"') -> str:
    import difflib  # late: most files have no faults

    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f", did you mean {before}{near[0]}{after}?" if near else f"; known are {', '.join(known)}"


def _meant(value: Any, kind: inspect.Type) -> str:
    if not isinstance(value, str) or not isinstance(kind, inspect.LiteralType):
        return ""
    import difflib  # late: most files have no faults

    near = difflib.get_close_matches(value.lower(), list(map(str, kind.values)), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _either(values: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def _control_character(text: str, may_hold_lines: bool) -> str:
    allowed = "\t\r\n" if may_hold_lines else ""
    return next(
        (sign for sign in text if (sign < " " or "\x7f" <= sign <= "\x9f") and sign not in allowed), ""
    )


def _shown(value: Any) -> str:
    """A value as a message may quote it. Text may be a secret in the wrong place, so only its type is shown."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return harmless(value, SHOWN_CHARACTERS) if abs(value) < 1e30 else "a number out of all ranges"
    if isinstance(value, str):
        return f'"{harmless(redact(value), SHOWN_CHARACTERS)}"'
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a date or time"
