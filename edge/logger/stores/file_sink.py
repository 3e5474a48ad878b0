"""Results into a CSV or JSON lines file; what is no record, and the records of fields, into files beside it."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.errors import LeukoscopeError
from edge.logger.stores.record_file import RecordFile, append
from edge.logger.stores.rows import CELL_COLUMNS, csv_line, row
from edge.logger.stores.sink import RefusedError, Reject
from edge.logger.stores.sql_sink import first_of_each
from edge.records import FieldRecord, Record

REJECTS_BYTES = 16 * 1024 * 1024
"""Of a file of rejects; then it becomes `NAME.rejects.old.jsonl`, in place of an earlier one, and a new one begins."""


class FileSink:
    """Appends to a CSV or JSON lines file, synced to the disk with each call.

    Rejects go to `NAME.rejects.jsonl`, fields of view to `NAME.fields.jsonl` (of a CSV file `NAME.csv.fields.jsonl`);
    both are made when there is one.

    Args:
        file: ends in .csv or .jsonl; the ids in it are read, so that none is stored twice.

    Raises:
        InputError: the file holds something else; it is not touched.
        LeukoscopeError: it cannot be opened, or another logger writes to it.
    """

    def __init__(self, file: Path):
        self._path = file.resolve()
        self.name = str(self._path)
        columns = CELL_COLUMNS if file.suffix == ".csv" else None
        self._cells = RecordFile(self._path, columns)
        self._fields_path = self._path.with_name(self._path.name.removesuffix(".jsonl") + ".fields.jsonl")
        self._fields = RecordFile(self._fields_path, None) if self._fields_path.exists() else None
        self._rejects_path = self._path.with_suffix(".rejects.jsonl")

    def store(
        self, records: Sequence[Record], rejects: Sequence[Reject], fields: Sequence[FieldRecord] = ()
    ) -> list[bool]:
        """See Sink."""
        cells = {record.id: self._line(record) for record in records if record.id not in self._cells}
        try:
            self._keep_rejects(rejects)
            self._keep_fields(fields)
            self._cells.add(cells)
        except OSError as error:
            raise LeukoscopeError(f"cannot write {self._path}: {error.strerror}") from error
        return first_of_each(records, set(cells))

    def close(self) -> None:
        """See Sink."""
        self._cells.close()
        if self._fields is not None:
            self._fields.close()

    def _line(self, record: Record) -> bytes:
        try:
            if self._cells.columns is None:
                return msgspec.json.encode(record) + b"\n"
            return csv_line(row(record).values()).encode()
        except ValueError as error:
            raise RefusedError(f"{self._path} cannot hold it: {error}") from error

    def _keep_fields(self, fields: Sequence[FieldRecord]) -> None:
        if not fields:
            return
        if self._fields is None:
            self._fields = RecordFile(self._fields_path, None)
        known = self._fields
        known.add({f.id: msgspec.json.encode(f) + b"\n" for f in fields if f.id not in known})

    def _keep_rejects(self, rejects: Sequence[Reject]) -> None:
        if not rejects:
            return
        data = b"".join(_reject_line(reject) for reject in rejects)
        with open(self._rejects_path, "ab") as file:
            size = os.fstat(file.fileno()).st_size
            if size < REJECTS_BYTES:
                append(file, data)
                return
        self._rejects_path.replace(self._path.with_suffix(".rejects.old.jsonl"))
        with open(self._rejects_path, "ab") as file:
            append(file, data)


def _reject_line(reject: Reject) -> bytes:
    fields = msgspec.structs.asdict(reject)
    return msgspec.json.encode({**fields, "payload": reject.payload.decode("utf-8", "replace")}) + b"\n"
