"""Checks what came, stores it, and acknowledges what is stored; what cannot be stored is put aside with its reason."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.errors import InputError, LeukoscopeError
from edge.host import threads
from edge.host.text import harmless
from edge.logger.inbox import Delivery, Inbox
from edge.logger.stores.sink import RefusedError, Reject, Sink
from edge.records import FieldRecord, Record, decode_field, decode_record, rfc3339

log = logging.getLogger(__name__)

BATCH_LIMIT, BATCH_BYTES = 500, 4 * 1024 * 1024
"""What one transaction takes; the broker sends no more than BATCH_LIMIT without an acknowledgement."""
REJECT_BYTES, REJECT_TEXT = 16 * 1024, 400
"""What is kept of a message that is no record: of its payload; of its topic and of the reason, in characters."""
LOGGED_LIMIT = 50
"""How many different reasons are logged."""
RETRY_S = 1.0
"""Between attempts while the store fails."""

OnStored = Callable[[Record, bool], None]


@dataclass(frozen=True)
class _Item:
    """A message and what it holds."""

    delivery: Delivery
    content: Record | FieldRecord | Reject


class Writer:
    """Takes from the inbox until it is stopped.

    Args:
        sink: where to.
        inbox: where from.
        on_stored: called in the writer's thread with each cell's record and whether it was new.

    Attributes:
        fault: why the store fails, or "".
    """

    def __init__(self, sink: Sink, inbox: Inbox, on_stored: OnStored | None):
        self._sink, self._inbox = sink, inbox
        self.on_stored = on_stored
        self.fault = ""
        self._stopping = threading.Event()
        self._deadline_s = float("inf")
        self._logged: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread = threads.start("logger: writer", self._run)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Store what has arrived, as far as the time allows; the broker keeps the rest.

        Returns:
            Whether the thread ended; if not, the store hangs.
        """
        self._deadline_s = time.monotonic() + timeout_s
        self._inbox.close()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s + RETRY_S)
        return not self.alive

    def _run(self) -> None:
        while True:
            batch = self._inbox.take(BATCH_LIMIT, BATCH_BYTES, 0.5)
            if self._stopping.is_set() and (not batch or time.monotonic() > self._deadline_s):
                return
            try:
                if batch and self._store(batch):
                    _acknowledge(batch)
            except Exception:  # the thread's top
                log.exception("logger: unexpected error; the broker sends these results again")
                _have_sent_again(batch)

    def _store(self, batch: list[Delivery]) -> bool:
        """Store a batch, however often that must be tried; False if the stop came first."""
        waiting = [[item for delivery in batch if (item := self._read(delivery)) is not None]]
        while waiting:
            part = waiting.pop()
            try:
                self._store_part(part)
            except RefusedError as error:
                waiting.extend(self._smaller(part, error))
            except LeukoscopeError as error:
                waiting.append(part)
                if not self.fault:
                    log.error("%s; trying again, the broker keeps the results", error)
                self.fault = str(error)
                if self._stopping.wait(RETRY_S):
                    return False
        return True

    def _store_part(self, part: list[_Item]) -> None:
        records = _those(Record, part)
        new = self._sink.store(records, _those(Reject, part), _those(FieldRecord, part))
        if self.fault:
            log.info("results are stored again")
            self.fault = ""
        for record, is_new in zip(records, new):
            self._tell(record, is_new)

    def _smaller(self, part: list[_Item], error: RefusedError) -> list[list[_Item]]:
        """The parts to try instead of one that the store refused; the last is tried first."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        (item,) = part
        if not isinstance(item.content, Reject):
            return [[_Item(item.delivery, self._reject(item.delivery, str(error)))]]
        plain = Reject(
            received_at=item.content.received_at,
            topic=_ascii(item.content.topic),
            payload=item.content.payload,
            reason=_ascii(item.content.reason),
        )
        if plain != item.content:
            return [[_Item(item.delivery, plain)]]
        log.error("the store refuses a reject too, it is lost: %s", error)
        return []

    def _read(self, delivery: Delivery) -> _Item | None:
        """What a message holds; None for the trial of `leukoscope doctor`, which is empty."""
        if not delivery.payload.strip():
            return None
        levels = delivery.topic.split("/")
        device, kind = levels[-2:] if len(levels) > 1 else ("", "")
        content: Record | FieldRecord
        try:
            content = decode_field(delivery.payload) if kind == "fields" else decode_record(delivery.payload)
            if content.device != device:
                raise InputError(f"the topic is that of {device}, but the record names {content.device}")
        except InputError as error:
            return _Item(delivery, self._reject(delivery, str(error)))
        return _Item(delivery, content)

    def _reject(self, delivery: Delivery, reason: str) -> Reject:
        topic, reason = harmless(delivery.topic, REJECT_TEXT), harmless(reason, REJECT_TEXT)
        fault = f"{topic}: {reason}"
        if fault not in self._logged and len(self._logged) < LOGGED_LIMIT:
            self._logged.add(fault)
            log.warning("rejected a message on %s", fault)
        size = len(delivery.payload)
        if size > REJECT_BYTES:
            reason = f"{reason} (the first {REJECT_BYTES} of {size} bytes are kept)"
        return Reject(
            received_at=rfc3339(time.time_ns()),
            topic=topic,
            payload=delivery.payload[:REJECT_BYTES],
            reason=reason,
        )

    def _tell(self, record: Record, new: bool) -> None:
        if self.on_stored is None:
            return
        try:
            self.on_stored(record, new)
        except Exception:  # not ours: it must not keep a stored result from its acknowledgement
            log.exception("on_stored failed")


def _those(kind: type, part: Sequence[_Item]) -> list:  # type: ignore[type-arg]
    return [item.content for item in part if isinstance(item.content, kind)]


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _have_sent_again(batch: list[Delivery]) -> None:
    """A broker sends what is not acknowledged again, but only over a new connection."""
    for session in {id(delivery.session): delivery.session for delivery in batch}.values():
        session.disconnect()


def _acknowledge(batch: list[Delivery]) -> None:
    """Acknowledge to the connection that delivered; after its end the broker delivers again."""
    for feed, session, message_id, qos, *_ in batch:
        feed.acknowledged += 1
        if feed.connection is not None and session is feed.connection.session:
            session.ack(message_id, qos)
