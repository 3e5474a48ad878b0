"""The results as the page shows them: pages of cells, one cell, specimens, reviews. Every question is bounded."""

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.logger import reviews
from edge.logger.checked import Checked
from edge.logger.queries import Results
from edge.logger.stores.rows import CELL_COLUMNS, record_of
from edge.records import Record, rfc3339
from edge.specimen.agreement import Agreement, agreements
from edge.specimen.counting import SHIPPED, Classes, classes_in
from edge.specimen.summary import CHECKED_FROM
from edge.web.faults import PageError

PAGE = 60
SPECIMENS = 200
FIRST_LOOKED_AT = 1000
"""Among so many cells a second look is looked for at first: whether a cell was reviewed costs more than its place in
the order, and whoever reviewed first had the same order."""
CLASSES_S = 60.0
"""So long the class names in the database are taken for known: to find them, every row is looked at."""


class Store:
    """The database of `leukoscope log`, opened anew when a question has failed: it may come later than the page.

    Args:
        target: its address.
        own: the class names of the box's model; None if they are not known.
    """

    def __init__(self, target: str, own: Classes | None = None):
        self._target, self._own = target, own
        self._open: Results | None = None
        self._opening = threading.Lock()
        self.checked_cells = Checked()
        self._classes: tuple[float, list[Classes]] = float("-inf"), []

    def prepare(self) -> None:
        """Open the database and read what later questions need, so that the first person does not wait for it."""
        self.classes()
        with contextlib.suppress(LeukoscopeError):  # whoever asks is told
            self.checked_cells.counts(self.results())

    def close(self) -> None:
        """Give the connections back."""
        if self._open is not None:
            self._open.close()
            self._open = None
            self.checked_cells.forget()

    def results(self) -> Results:
        """The database.

        Raises:
            PageError: nothing was stored yet.
            LeukoscopeError: it cannot be read.
        """
        with self._opening:
            opened = self._open
            if opened is None:
                try:
                    opened = self._open = Results(self._target)
                except InputError as error:  # nothing was stored yet
                    raise PageError(str(error), "no_results", 503) from None
        return opened

    def classes(self) -> list[Classes]:
        """The class names of the box's model, then those of other models in the database."""
        looked_at, known = self._classes
        if time.monotonic() - looked_at < CLASSES_S:
            return known
        own = [self._own] if self._own else []
        try:
            found = list(dict.fromkeys([*own, *self.results().classes()]))
        except LeukoscopeError:  # not there yet, or not at the moment
            found = []
        if not found:
            return own or [SHIPPED]
        self._classes = time.monotonic(), found
        return found

    def cells(self, filters: Mapping[str, str], before: str) -> tuple[list[dict[str, Any]], str]:
        """One page of cells, the newest first, and the id to go on from ("" at the end).

        Args:
            filters: specimen; counted (a class, refer, other); reviewed ("yes", "no"); p_from and p_to, 0 to 1.
            before: the last id of the page before, or "". Ids are UUIDv7: their order is that of time.
        """
        results = self.results()
        sql, cells = results.sql, results.tables.cells
        query = sql.select(*results.columns).where(*self._conditions(filters))
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

    def review(self, cell_id: str, label: str, reviewer: str, comment: str, now_ns: int) -> Record:
        """Add a review.

        Returns:
            The record of the cell.

        Raises:
            PageError: there is no such cell or label.
        """
        record = self.cell(cell_id)
        if record is None:
            raise PageError("there is no such cell", "cell", 404)
        pair = classes_in(record.probabilities)
        known = reviews.labels([pair] if pair else self.classes())
        if label not in (*known, reviews.UNDONE):
            raise PageError(f"label is none of {', '.join(known)}", "label")
        one = reviews.Review(
            cell=cell_id, label=label, reviewer=reviewer, at=rfc3339(now_ns), comment=comment
        )
        reviews.add(self.results(), one)
        return record

    def to_review(self, specimen: str, order: str, reviewer: str, second: bool) -> list[Record]:
        """Cells with pictures that this person has not reviewed, at most PAGE.

        Args:
            specimen: its name, or "" for all.
            order: "doubt", those first whose probability is nearest to 0.5; or "random".
            reviewer: who asks.
            second: cells that somebody else has reviewed, so that both can be compared; else cells that nobody has.
        """
        results = self.results()
        sql, cells = results.sql, results.tables.cells
        offered = [cells.c.image.is_not(None), sql.cast(cells.c.image, sql.Text) != "null"]
        if specimen:
            offered.append(cells.c.specimen == specimen)
        place = sql.func.random() if order == "random" else sql.func.abs(results.probability() - 0.5)
        if second:
            rows = self._for_a_second_look(reviewer, offered, place)
        else:
            unseen = [~self._reviewed()] if results.has("reviews") else []
            query = sql.select(*results.columns).where(*offered, *unseen)
            rows = list(results.run(query.order_by(place, cells.c.id).limit(PAGE)))
        return [record for record in map(_record, rows) if record is not None]

    def _for_a_second_look(self, reviewer: str, offered: list[Any], place: Any) -> list[Any]:
        """Rows that somebody has reviewed and this person has not, at most PAGE.

        Args:
            reviewer: who asks.
            offered: conditions that hold without the reviews.
            place: the column they are ordered by.
        """
        results = self.results()
        if not results.has("reviews"):
            return []
        sql, cells = results.sql, results.tables.cells
        seen = [self._reviewed(), ~self._reviewed(reviewer)]
        first = sql.select(cells.c.id, place.label("place")).where(*offered)
        first = first.order_by("place", cells.c.id).limit(FIRST_LOOKED_AT).subquery()
        query = sql.select(*results.columns).join(first, first.c.id == cells.c.id).where(*seen)
        rows = list(results.run(query.order_by(first.c.place, cells.c.id).limit(PAGE)))
        if len(rows) < PAGE:
            query = sql.select(*results.columns).where(*offered, *seen)
            rows = list(results.run(query.order_by(place, cells.c.id).limit(PAGE)))
        return rows

    def agreements(self, specimen: str) -> list[Agreement]:
        """How far every two reviewers of a specimen agree."""
        said = reviews.of_each_person(reviews.all_of(self.results(), specimen))
        return agreements((review.cell, review.reviewer, review.label) for review in said)

    def checked(self, sha256: str) -> dict[str, Any]:
        """How many cells of a model file this laboratory has given a class, and whether that is enough."""
        reviewed = self.checked_cells.counts(self.results()).get(sha256, 0)
        return {"reviewed": reviewed, "needed": CHECKED_FROM, "checked": reviewed >= CHECKED_FROM}

    def _reviewed(self, reviewer: str = "") -> Any:
        """The condition that somebody (or this person) has reviewed a cell and not taken that back, as in
        `reviews.of_each_person`.
        """
        sql, tables = self.results().sql, self.results().tables
        said, later = tables.reviews.alias("said"), tables.reviews.alias("later")
        same = (later.c.cell == said.c.cell, later.c.reviewer == said.c.reviewer)
        newest = ~sql.exists().where(*same, later.c.at > said.c.at)
        query = sql.exists().where(said.c.cell == tables.cells.c.id, said.c.label != reviews.UNDONE, newest)
        return query.where(said.c.reviewer == reviewer) if reviewer else query

    def _reviews(self, ids: list[str]) -> dict[str, reviews.Review]:
        results = self.results()
        if not ids or not results.has("reviews"):
            return {}
        table = results.tables.reviews
        query = results.sql.select(table).where(table.c.cell.in_(ids)).order_by(table.c.at)
        return reviews.newest(reviews.review_of(row) for row in results.run(query))

    def _conditions(self, filters: Mapping[str, str]) -> list[Any]:
        results = self.results()
        sql, cells = results.sql, results.tables.cells
        found = []
        if "specimen" in filters:
            found.append(cells.c.specimen == filters["specimen"])
        counted = filters.get("counted", "")
        other = sql.func.coalesce(cells.c.kind, "") == "other"
        if counted == "other":
            found.append(other)
        elif counted:
            found += [cells.c.verdict == counted, ~other]
        probability = results.probability()
        for name, condition in (("p_from", probability.__ge__), ("p_to", probability.__le__)):
            try:
                found.append(condition(float(filters[name])))
            except (KeyError, ValueError):
                continue
        if filters.get("reviewed") in ("yes", "no") and results.has("reviews"):
            found.append(self._reviewed() if filters["reviewed"] == "yes" else ~self._reviewed())
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
