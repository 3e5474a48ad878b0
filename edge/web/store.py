"""The results as the page shows them: pages of cells, one cell, specimens, reviews. Every question is bounded."""

from collections.abc import Mapping
from typing import Any

import msgspec

from edge.errors import InputError
from edge.logger import reviews
from edge.logger.queries import Results
from edge.logger.rows import CELL_COLUMNS, record_of
from edge.records import Record, rfc3339

PAGE = 60
SPECIMENS = 200
_KINDS = ("ALL", "HEM", "refer", "other")


class Store:
    """The database of `leukoscope log`, opened anew when a question has failed: it may come later than the page.

    Args:
        target: its address.
    """

    def __init__(self, target: str):
        self._target = target
        self._open: Results | None = None

    def close(self) -> None:
        """Give the connections back."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def results(self) -> Results:
        """The database.

        Raises:
            LeukoscopeError: it is not there (yet) or cannot be read.
        """
        if self._open is None:
            self._open = Results(self._target)
        return self._open

    def cells(self, filters: Mapping[str, str], before: str) -> tuple[list[dict[str, Any]], str]:
        """One page of cells, the newest first, and the id to go on from ("" at the end).

        Args:
            filters: specimen; counted (ALL, HEM, refer, other); reviewed ("yes", "no"); p_from and p_to, 0 to 1.
            before: the last id of the page before, or "". Ids are UUIDv7: their order is that of time.
        """
        results = self.results()
        sql, cells = results.sql, results.tables.cells
        query = sql.select(*results.columns).where(*_conditions(results, filters))
        if before:
            query = query.where(cells.c.id < before)
        rows = list(results.run(query.order_by(cells.c.id.desc()).limit(PAGE + 1)))
        found = [_record(row) for row in rows[:PAGE]]
        known = self._reviews([record.id for record in found if record is not None])
        shown = [_shown(record, known.get(record.id)) for record in found if record is not None]
        return shown, rows[PAGE - 1].id if len(rows) > PAGE else ""

    def cell(self, cell_id: str) -> Record | None:
        """One record, or None."""
        results = self.results()
        query = results.sql.select(*results.columns).where(results.tables.cells.c.id == cell_id)
        for row in results.run(query):
            return _record(row)
        return None

    def shown(self, record: Record) -> dict[str, Any]:
        """A record with its newest review, as JSON values."""
        return _shown(record, self._reviews([record.id]).get(record.id))

    def specimens(self) -> list[dict[str, Any]]:
        """Totals of the last specimens, the newest first."""
        totals = self.results().totals("specimen")[-SPECIMENS:]
        return [msgspec.to_builtins(total) for total in reversed(totals)]

    def review(self, cell_id: str, label: str, reviewer: str, comment: str, now_ns: int) -> None:
        """Add a review.

        Raises:
            InputError: there is no such cell or label.
        """
        if label not in reviews.LABELS:
            raise InputError(f"{label!r} is none of {', '.join(reviews.LABELS)}")
        if self.cell(cell_id) is None:
            raise InputError("there is no such cell")
        one = reviews.Review(
            cell=cell_id, label=label, reviewer=reviewer, at=rfc3339(now_ns), comment=comment
        )
        reviews.add(self.results(), one)

    def _reviews(self, ids: list[str]) -> dict[str, reviews.Review]:
        results = self.results()
        if not ids or not results.has("reviews"):
            return {}
        table = results.tables.reviews
        query = results.sql.select(table).where(table.c.cell.in_(ids)).order_by(table.c.at)
        return {
            row.cell: reviews.Review(
                cell=row.cell, label=row.label, reviewer=row.reviewer, at=row.at, comment=row.comment or ""
            )
            for row in results.run(query)
        }


def _conditions(results: Results, filters: Mapping[str, str]) -> list[Any]:
    sql, cells = results.sql, results.tables.cells
    found = []
    if "specimen" in filters:
        found.append(cells.c.specimen == filters["specimen"])
    counted = filters.get("counted", "")
    other = sql.func.coalesce(cells.c.kind, "") == "other"
    if counted == "other":
        found.append(other)
    elif counted in _KINDS:
        found += [cells.c.verdict == counted, ~other]
    probability = results.probability()
    for name, condition in (("p_from", probability.__ge__), ("p_to", probability.__le__)):
        try:
            found.append(condition(float(filters[name])))
        except (KeyError, ValueError):
            continue
    if filters.get("reviewed") in ("yes", "no") and results.has("reviews"):
        reviewed = sql.exists().where(results.tables.reviews.c.cell == cells.c.id)
        found.append(reviewed if filters["reviewed"] == "yes" else ~reviewed)
    return found


def _record(row: Any) -> Record | None:
    try:
        return record_of(dict(zip(CELL_COLUMNS, row, strict=True)), Record)
    except InputError:
        return None


def _shown(record: Record, review: reviews.Review | None) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(record)
    values["review"] = None if review is None else msgspec.to_builtins(review)
    return values
