"""Which record the broker never takes, although it takes others: because of a limit that it does not report, for
example."""

import time

# How often a record must fail, each time with proof that others do not, before it is set aside.
STRIKES = 5
# So many connections that end soon, one after the other, are more than chance.
SHORT_CONNECTIONS = 2
# One that lasts longer is no short one.
SHORT_S = 5.0
# Reason codes of a PUBACK that may be the record's own fault: unspecified, implementation specific, packet too
# large, payload format invalid.
_OF_THE_RECORD = (128, 131, 149, 153)


class Unsendable:
    """Finds the record at which the broker closes the connection, or which alone it refuses.

    After connections that end soon the records are sent one at a time ("careful"). Only a loss by the broker's
    own close counts, with one record under way and after the broker has acknowledged something else in the same
    connection: an unsteady network must not put records aside.
    """

    def __init__(self) -> None:
        self._strikes: dict[int, int] = {}
        self._short = 0
        self._began = 0.0  # monotonic; 0 while there is no connection
        self._others = 0  # messages that the broker took in this connection
        self._records = 0  # records that it ever took
        self._records_at_refusal: dict[int, int] = {}

    @property
    def careful(self) -> bool:
        """Whether records are sent one at a time now."""
        if self._began and time.monotonic() - self._began > SHORT_S:
            self._short = 0
        return self._short >= SHORT_CONNECTIONS

    @property
    def record_first(self) -> bool:
        """Whether a record goes before the announcement: a broker may close after the first message."""
        return self.careful and self._short % 2 == 1

    def began(self) -> None:
        """A connection begins."""
        self._began, self._others = time.monotonic(), 0

    def took(self, sequence: int | None) -> None:
        """The broker has acknowledged a record, or (None) another message."""
        self._others += 1
        if sequence is not None:
            self._records += 1
            self._strikes.pop(sequence, None)
            self._records_at_refusal.pop(sequence, None)

    def ended(self) -> None:
        """The connection has ended."""
        if self._began:
            short = time.monotonic() - self._began < SHORT_S
            self._short = self._short + 1 if short else 0
            self._began = 0.0

    def lost(self, under_way: list[int], closed: bool, too_large: bool) -> bool:
        """Why the last connection has ended is known.

        Args:
            under_way: sequences that were sent and not acknowledged.
            closed: whether the broker has closed it, and not the network or this box.
            too_large: whether it reported that a packet was too large.

        Returns:
            Whether the one record that was under way is to be set aside.
        """
        if too_large:  # not by chance: from now on one at a time
            self._short = max(self._short, SHORT_CONNECTIONS)
        if not closed or len(under_way) != 1 or not (self._others or too_large):
            return False
        return self._struck(under_way[0], STRIKES if too_large else 1)

    def refused(self, sequence: int, value: int) -> bool:
        """The broker has refused a record; True if it is to be set aside: it takes others, again and again.

        Args:
            sequence: of the record.
            value: the reason code.
        """
        before = self._records_at_refusal.get(sequence)
        self._records_at_refusal[sequence] = self._records
        if value not in _OF_THE_RECORD or before is None or before == self._records:
            return False
        return self._struck(sequence, 1)

    def _struck(self, sequence: int, count: int) -> bool:
        self._strikes[sequence] = self._strikes.get(sequence, 0) + count
        if self._strikes[sequence] < STRIKES:
            return False
        del self._strikes[sequence]
        return True
