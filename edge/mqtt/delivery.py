"""The delivery of records: what is sent, acknowledged, refused, and sent again."""

import logging
import queue
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from paho.mqtt.reasoncodes import ReasonCode

from edge.mqtt.acknowledgements import Subscribers, UnderWay
from edge.mqtt.announcements import Announcements, status
from edge.mqtt.client import BrokerClient
from edge.mqtt.connection import Connection
from edge.mqtt.limits import TooLargeError
from edge.mqtt.unsendable import Unsendable

log = logging.getLogger(__name__)

# Records under way at once, as many as paho sends; the broker's ReceiveMaximum may make it fewer.
WINDOW = 20
# Until a record is sent again that the broker refused, or kept for nobody.
REFUSED_RETRY_S, HELD_RETRY_S = 5.0, 1.0
# After a new connection, what was acknowledged of late is sent again a second time: by then a logger that lost
# its session with the broker's crash has tried to connect again (its longest pause is 30 s) and has subscribed.
RESEND_AGAIN_S = 40.0


class Queue(Protocol):
    """What the publisher needs of the outbox."""

    def pending(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` records above sequence `after` that are to be sent, as (sequence, JSON)."""

    def acknowledged(self, sequences: Iterable[int]) -> None:
        """The broker has acknowledged these."""

    def resend(self) -> int:
        """What was acknowledged in the last seconds is pending again; how many there are."""

    def set_aside(self, sequence: int, reason: str) -> None:
        """Keep a record that can never be sent where a person finds it, and go on without it."""

    def fault(self) -> str:
        """Why no new record is taken, or ""."""

    def after_commit(self, send: Callable[[], bool]) -> None:
        """From now on, new records are sent by this function in the thread that has committed them; if it returns False,
        `wait_for_change` ends."""

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait for new records or for `wake`."""

    def wake(self) -> None:
        """End `wait_for_change`."""

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is to be sent."""


class Delivery:
    """Sends the records of one outbox, in order, and tells the outbox what the broker has acknowledged.

    One thread at a time calls `turn`; every method but `acknowledged` and those that only read is for that thread alone.

    Args:
        outbox: where the records wait.
        connection: to the broker.
        topic: of the records.
        announcements: what the box says of itself; None if another connection of the box says it.
    """

    def __init__(
        self, outbox: Queue, connection: Connection, topic: str, announcements: Announcements | None
    ):
        self._outbox, self._connection, self._topic = outbox, connection, topic
        self._announcements = announcements
        self._acknowledged: queue.SimpleQueue[tuple[BrokerClient, int, ReasonCode]] = queue.SimpleQueue()
        self._session: BrokerClient | None = None  # the one that the next three belong to
        self._under_way = UnderWay()
        self._cursor = 0  # the last sequence that was sent
        self._said: str | None = None  # the outbox's fault as it was announced; None before
        self._left: list[int] | None = None  # sequences under way when the last session ended
        self._retry_at = 0.0  # monotonic; 0 if nothing is to be sent again
        self._resend_at: list[float] = []  # monotonic
        self._silent: BrokerClient | None = (
            None  # the session that was given up, since it did not acknowledge
        )
        self._unsendable = Unsendable()
        self._subscribers = Subscribers(topic)
        self._refusal = ""  # why the broker refuses records

    @property
    def faults(self) -> tuple[str, str]:
        """Why the broker refuses records, and that it does not acknowledge; each "" if that is not so."""
        return self._refusal, self._under_way.silence

    @property
    def heard(self) -> bool:
        """False while the broker reports that nobody has subscribed."""
        return self._subscribers.heard

    def oldest_s(self) -> float:
        """For how long the oldest message waits for its acknowledgement, seconds; 0 if none waits."""
        return self._under_way.oldest_s()

    def acknowledged(self, client: BrokerClient, message_id: int, reason: ReasonCode) -> None:
        """The broker has acknowledged a message; any thread may call this, also one that holds locks of paho."""
        self._acknowledged.put((client, message_id, reason))

    def begin_again(self) -> None:
        """After an error in the thread: what was missed is sent again."""
        self._retry_at = time.monotonic()

    def turn(self, stopping: bool) -> bool:
        """Take what the broker has answered, and send what is due.

        Args:
            stopping: send nothing more.

        Returns:
            Whether nothing is under way any more while it stops.
        """
        self._take_acknowledgements()
        self._follow_session()
        if self._silent is not self._session and self._under_way.look_for_silence():
            self._silent = self._session  # once for each connection
            self._connection.renew(self._under_way.silence)
        if stopping:
            return not self._under_way.sequences()
        if self._session is not None:
            self._resend_if_due()
            if not self._unsendable.record_first or not self._send(self._session):
                self._announce(self._session)
            self._send(self._session)
        return False

    def _take_acknowledgements(self) -> None:
        accepted = []
        while not self._acknowledged.empty():
            session, message_id, reason = self._acknowledged.get()
            message = self._under_way.acknowledged(message_id) if session is self._session else None
            if message is None:
                continue
            if message.sequence is None:
                self._unsendable.took(None)
            elif reason.is_failure:
                self._refused(message.sequence, reason)
            elif self._subscribers.take(reason.value):
                self._retry_at = time.monotonic() + HELD_RETRY_S
            else:
                self._unsendable.took(message.sequence)
                accepted.append(message.sequence)
        if accepted:
            self._outbox.acknowledged(accepted)
            if self._refusal and not self._retry_at:
                log.info("the broker accepts records again")
                self._refusal = ""

    def _refused(self, sequence: int, reason: ReasonCode) -> None:
        """The broker refused a record: it stays in the outbox and is sent again later."""
        if self._unsendable.refused(sequence, reason.value):
            self._set_aside(sequence, f"the broker refuses this record and takes others: {reason}")
            return
        self._retry_at = time.monotonic() + REFUSED_RETRY_S
        fault = f"the broker refuses records: {reason}"
        if fault != self._refusal:
            remedy = f"let this user write to {self._topic} in the broker's access list"
            log.error("%s (sequence %d); %s; they stay in the outbox", fault, sequence, remedy)
            self._refusal = fault

    def _follow_session(self) -> None:
        """After a reconnect nothing is under way: begin again with the oldest record."""
        session = self._connection.session
        if session is self._session:
            return
        if self._session is not None:
            self._left = self._under_way.sequences()
            self._unsendable.ended()
        self._session, self._cursor, self._retry_at, self._said = session, 0, 0.0, None
        self._under_way.forget()
        if session is None:
            return
        loss = self._connection.loss
        if self._left is not None and loss is not None:
            if self._unsendable.lost(self._left, loss.closed, loss.too_large):
                reason = f"the broker closes the connection at this record and takes others: {loss.text}"
                self._set_aside(self._left[0], reason)
            self._left = None
        self._unsendable.began()
        now = time.monotonic()
        self._resend_at = [now, now + RESEND_AGAIN_S]

    def _resend_if_due(self) -> None:
        """Send again what the broker acknowledged of late: it may have crashed before it had written it down.

        Not while connections end soon: what is new would never have its turn.
        """
        if not self._resend_at or time.monotonic() < self._resend_at[0] or self._unsendable.careful:
            return
        self._resend_at.pop(0)
        if self._outbox.resend():
            self._retry_at = time.monotonic()

    def _announce(self, session: BrokerClient) -> None:
        """Announce that the box is there; again if the outbox became full or has room again."""
        fault = self._outbox.fault()
        if fault == self._said or self._announcements is None:
            return
        if self._said is None:  # a new connection
            for other_id in self._announcements.send_others(session):
                self._under_way.add(other_id, None)
        self._said = fault
        message_id = self._announcements.send(session, "status", status("online", fault), qos=1)
        if message_id is not None:
            self._under_way.add(message_id, None)

    def _send(self, session: BrokerClient) -> bool:
        """Send what is pending, as far as the broker takes it; whether a record was sent."""
        if session.limits.qos == 0:  # it would acknowledge nothing
            return False
        if self._retry_at:
            if self._under_way or time.monotonic() < self._retry_at:
                return False
            self._retry_at, self._cursor = 0.0, 0
        window = 1 if self._unsendable.careful else min(WINDOW, self._connection.receive_maximum)
        room = window - len(self._under_way)
        if room <= 0:
            return False
        sent = False
        for sequence, payload in self._outbox.pending(self._cursor, room):
            try:
                message = session.send(self._topic, payload)
                self._under_way.add(message.mid, sequence)
                sent = True
            except TooLargeError as error:
                self._set_aside(sequence, str(error))
            self._cursor = sequence
        if sent:
            session.push()
        return sent

    def _set_aside(self, sequence: int, reason: str) -> None:
        self._under_way.waits_no_more(sequence)
        self._outbox.set_aside(sequence, reason)
