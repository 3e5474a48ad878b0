"""What the broker has acknowledged and the outbox still keeps, to send it again if the broker loses it."""

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

JOIN_S = 1.0
"""Acknowledgements that follow each other are one span for this time; then a new one begins."""

_LAST = 2**63 - 1


class Span(NamedTuple):
    """Acknowledged records without a gap.

    Attributes:
        first, last: their sequences.
        records: how many of them the file holds.
        since_s, until_s: when the first and the last of them was acknowledged, on the monotonic clock.
    """

    first: int
    last: int
    records: int
    since_s: float
    until_s: float


class Kept:
    """Spans in the order of their acknowledgement: a few per second at most. Not thread-safe.

    Attributes:
        spans: see there.
        records: how many records the file holds of them.
    """

    def __init__(self, spans: Iterable[Span] = ()):
        self.spans = list(spans)
        self.records = sum(span.records for span in self.spans)
        self._highest = max((span.last for span in self.spans), default=0)

    def holds(self, sequence: int) -> bool:
        """Whether this record was acknowledged."""
        return sequence <= self._highest and any(span.first <= sequence <= span.last for span in self.spans)

    def add(self, first: int, last: int, records: int, now_s: float) -> Span:
        """Note an acknowledgement; gives its span, which may be a longer one that it continues."""
        newest = self.spans[-1] if self.spans else None
        if newest and newest.last + 1 == first and now_s - newest.since_s < JOIN_S:
            self.spans[-1] = span = newest._replace(
                last=last, records=newest.records + records, until_s=now_s
            )
        else:
            span = Span(first, last, records, now_s, now_s)
            self.spans.append(span)
        self.records += records
        self._highest = max(self._highest, last)
        return span

    def without(self, spans: list[Span], sequences: Iterable[int] = ()) -> "Kept":
        """The same without some spans, and without single records that were removed from the file otherwise."""
        gone = {span.first for span in spans}
        left = [span for span in self.spans if span.first not in gone] if gone else self.spans
        if self.records:
            for sequence in sequences:
                for index, span in enumerate(left):
                    if sequence <= self._highest and span.first <= sequence <= span.last:
                        left = [*left[:index], span._replace(records=span.records - 1), *left[index + 1 :]]
        return Kept(left)

    def older_than(self, moment_s: float) -> list[Span]:
        """The spans whose last record was acknowledged before a moment of the monotonic clock."""
        return list(takewhile(lambda span: span.until_s < moment_s, self.spans))

    def oldest_half(self) -> list[Span]:
        """Half of the spans, rounded up, the oldest first."""
        return self.spans[: (len(self.spans) + 1) // 2]

    def gaps(self, after: int) -> Iterator[tuple[int, int]]:
        """What lies between the spans above a sequence, as first and last sequence, in order."""
        start = after + 1
        for span in sorted(self.spans):
            if span.first > start:
                yield start, span.first - 1
            start = max(start, span.last + 1)
        yield start, _LAST


def runs(sequences: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Sequences, each once or more often, as first and last of each run without a gap, in order."""
    first = last = 0
    for sequence in sorted(set(sequences)):
        if first and sequence == last + 1:
            last = sequence
            continue
        if first:
            yield first, last
        first = last = sequence
    if first:
        yield first, last
