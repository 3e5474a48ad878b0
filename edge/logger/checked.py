"""How many cells of each model file a laboratory has given a class; kept up to date without reading every review again."""

import threading
from collections import Counter
from typing import Any

import msgspec

from edge.logger.queries import Results
from edge.logger.reviews import OTHER_LABELS, UNDONE


class Checked:
    """Counts cells whose newest review is one of their model's classes. Any thread may ask.

    The first question reads every review. A later one reads those that were added since: rows are only added, so their
    number shows whether there are any. If the number does not fit to what was read, as after an erasure or a restore,
    all are read again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forget()

    def counts(self, results: Results) -> dict[str, int]:
        """The sha256 of each model file to the number of its cells; models without such cells are left out.

        Raises:
            LeukoscopeError: the database cannot be read.
        """
        if not results.has("reviews"):
            return {}
        with self._lock:
            number = self._number(results)
            if number != self._read and not self._read_on(results, number):
                self._forget()
                self._read_on(results, number)
            return {sha256: cells for sha256, cells in self._counts.items() if cells}

    def forget(self) -> None:
        """Read every review at the next question: it may be of another database."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        # Of each cell, what each person said last, in the order of time.
        self._said: dict[str, dict[str, str]] = {}
        self._counts: Counter[str] = Counter()
        self._names: dict[str, str] = {}  # sha256 by the JSON of a model: there are few
        self._read = self._read_at_last = 0  # rows; those of the last moment may not be all that have it
        self._last = ""

    def _number(self, results: Results) -> int:
        query = results.sql.select(results.sql.func.count()).select_from(results.tables.reviews)
        return sum(row[0] for row in results.run(query))

    def _read_on(self, results: Results, number: int) -> bool:
        """Read what was added; whether that makes `number` rows in all."""
        reviews, cells = results.tables.reviews, results.tables.cells
        query = (
            results.sql.select(
                reviews.c.cell, reviews.c.reviewer, reviews.c.label, reviews.c.at, cells.c.model
            )
            .outerjoin(cells, cells.c.id == reviews.c.cell)
            .where(reviews.c.at >= self._last)
            .order_by(reviews.c.at)
        )
        read, at_last = self._read - self._read_at_last, 0  # those of the last moment are read again
        for row in results.run(query):
            read += 1
            at_last = at_last + 1 if row.at == self._last else 1
            self._last = row.at
            self._take(row)
        self._read, self._read_at_last = read, at_last
        return read == number

    def _take(self, row: Any) -> None:
        """One review; taken twice, in the order of time, it changes nothing."""
        if row.model is None:  # of a cell that is not here
            return
        sha256 = self._sha256(row.model)
        said = self._said.setdefault(row.cell, {})
        self._counts[sha256] -= _classed(said)
        said.pop(row.reviewer, None)
        if row.label != UNDONE:
            said[row.reviewer] = row.label
        self._counts[sha256] += _classed(said)

    def _sha256(self, model: str) -> str:
        if model not in self._names:
            self._names[model] = str(msgspec.json.decode(model)["sha256"])
        return self._names[model]


def _classed(said: dict[str, str]) -> bool:
    """Whether the newest of what was said of a cell is a class."""
    return bool(said) and next(reversed(said.values())) not in OTHER_LABELS
