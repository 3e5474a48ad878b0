"""Records as rows of a table and as lines of CSV, and back again."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from edge.errors import InputError
from edge.host.text import spreadsheet_cell
from edge.records import FieldRecord, Record

CELL_COLUMNS = Record.__struct_fields__
FIELD_COLUMNS = FieldRecord.__struct_fields__
# Stored as JSON text.
NESTED = frozenset(
    {
        "probabilities",
        "reasons",
        "quality",
        "timings_ms",
        "model",
        "image",
        "field",
        "size",
        "ruler",
    }
)
MAY_BE_NULL = frozenset({"image", "clock_synchronised", "field", "kind", "ruler"})
_QUOTED = frozenset(',"\r\n')

AnyRecord = TypeVar("AnyRecord", Record, FieldRecord)


def row(record: Record | FieldRecord) -> dict[str, Any]:
    """One value per top-level field; nested ones as JSON text."""
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    for name in NESTED & values.keys():
        if values[name] is not None:
            values[name] = msgspec.json.encode(values[name]).decode()
    return values


def record_of(values: Mapping[str, Any], kind: type[AnyRecord]) -> AnyRecord:
    """The record of which `row` made these values; columns of a later version are ignored.

    Args:
        values: by column, as a database gives them, or all of them text as `from_csv` gives them.
        kind: Record or FieldRecord.

    Raises:
        InputError: the values are not those of a record.
    """
    fields: dict[str, Any] = {}
    for name in kind.__struct_fields__:
        value = values.get(name)
        if value is None or (value == "" and name in MAY_BE_NULL):
            continue
        fields[name] = value
    try:
        for name in NESTED & fields.keys():
            fields[name] = msgspec.json.decode(fields[name])
        return msgspec.convert(fields, kind, strict=False)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InputError(f"the row is no {kind.__name__}: {error}") from error


def csv_line(values: Iterable[Any]) -> str:
    """One line of CSV with its line end; a spreadsheet takes no value in it for a formula.

    Text that begins with a sign that starts a formula, or with ', gets one more ' before it.
    """
    return ",".join(_cell(value) for value in values) + "\n"


def from_csv(values: Mapping[str, str]) -> dict[str, str]:
    """The values of a row that `csv_line` wrote and `csv.DictReader` read, without the ' that was added."""
    return {name: value[1:] if value.startswith("'") else value for name, value in values.items()}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if isinstance(value, str):
        text = f"'{text}" if text.startswith("'") else str(spreadsheet_cell(text))
    # Not by csv.writer: before Python 3.13 it leaves a bare carriage return unquoted, which ends the row.
    if not _QUOTED.isdisjoint(text):
        text = '"' + text.replace('"', '""') + '"'
    return text
