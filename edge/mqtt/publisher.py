"""The publisher: sends what the outbox holds, and removes it when the broker has acknowledged it."""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal, Protocol

from paho.mqtt.client import MQTTMessageInfo
from paho.mqtt.reasoncodes import ReasonCode

from edge.host import threads
from edge.mqtt.acknowledgements import TIMEOUT_S, Subscribers, UnderWay
from edge.mqtt.client import BrokerClient
from edge.mqtt.commands import LARGEST_PACKET_BYTES, Handler, RemoteCommands
from edge.mqtt.connection import Connection
from edge.mqtt.limits import TooLargeError
from edge.mqtt.settings import MqttSettings
from edge.mqtt.unsendable import Unsendable
from edge.records import Status, encode, rfc3339

log = logging.getLogger(__name__)

# Records under way at once, as many as paho sends; the broker's ReceiveMaximum may make it fewer.
WINDOW = 20
# Until a record is sent again that the broker refused, or kept for nobody.
REFUSED_RETRY_S, HELD_RETRY_S = 5.0, 1.0
# After a new connection, what was acknowledged of late is sent again a second time: by then a logger that lost
# its session with the broker's crash has tried to connect again (its longest pause is 30 s) and has subscribed.
RESEND_AGAIN_S = 40.0
# How long the publisher sleeps if nothing wakes it.
IDLE_S = 1.0
# The thread that sends turns at least every IDLE_S; after so long without a turn it hangs.
HANG_S = 20.0


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

    def wait_for_change(self, timeout_s: float) -> bool:
        """Wait for new records or for `wake`."""

    def wake(self) -> None:
        """End `wait_for_change`."""

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is to be sent."""


class Publisher:
    """Sends what the outbox holds, in order, and removes it when the broker has acknowledged it.

    Args:
        settings: the broker.
        device: the box's name in topics.
        outbox: where the records wait.
        handlers: what does the commands that arrive, by name; see `edge.mqtt.commands`.
        topic: "cells", or another one below the box's root whose records have an outbox of their own. That one has a
            connection of its own too, and leaves status, health and commands to that of "cells".

    Attributes:
        listening: set when the broker has first answered the subscription to commands.

    Raises:
        InputError: password, CA or certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        device: str,
        outbox: Queue,
        handlers: Mapping[str, Handler] | None = None,
        topic: str = "cells",
    ):
        self._topic, self._announces = topic, topic == "cells"
        self._root = f"{settings.topic}/{device}"
        self._outbox = outbox
        self._acknowledged: queue.SimpleQueue[tuple[BrokerClient, int, ReasonCode]] = queue.SimpleQueue()
        # Of the publisher's own thread, as the methods below that begin with _ and are called in `_turn`.
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
        self._subscribers = Subscribers(f"{self._root}/{topic}")
        self._refusal = ""  # why the broker refuses records
        self._told_too_large: set[str] = set()
        self._told_deaf = False
        self._turned_at = time.monotonic()
        self._stopping, self._idle, self.listening = (threading.Event() for _ in range(3))
        self._view: MQTTMessageInfo | None = None  # the last one that was given to paho
        self._commands = RemoteCommands(settings.topic, device, handlers or {})
        self._connection = Connection(
            settings,
            client_id=f"leukoscope-{device}" + ("" if self._announces else f"-{topic}"),
            will=(f"{self._root}/status", lambda: status("offline")) if self._announces else None,
            on_connected=self._begin,
            on_publish=self._on_publish,
            on_message=self._commands.receive,
            on_subscribe=self._on_subscribe,
            window=WINDOW,
            packet_bytes=LARGEST_PACKET_BYTES,
        )
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Connect and send, in threads of their own; a broker that is absent is tried again for ever."""
        self._connection.start()
        self._commands.start()
        self._thread = threads.keep("publisher", self._run, self._idle)

    def state(self) -> str:
        """For health: "connected, MQTT 5" and what is wrong all the same, or "not connected: <why>"."""
        return "; ".join(filter(None, (self._connection.state(), self._refusal, self._under_way.silence)))

    def hangs(self) -> str:
        """What is wrong with the threads that send, or ""; a broker that is away is nothing wrong here."""
        if not (self._thread is not None and self._thread.is_alive() and self._connection.alive):
            return "its thread has ended"
        now = time.monotonic()
        if now - self._turned_at > HANG_S:
            return f"its thread hangs for {now - self._turned_at:.0f} s"
        waits_s = self._under_way.oldest_s()
        if waits_s > TIMEOUT_S + HANG_S:
            return (
                f"a message waits for {waits_s:.0f} s for its acknowledgement, and no new connection is made"
            )
        return self._commands.hangs()

    @property
    def heard(self) -> bool:
        """False while the broker reports that nobody has subscribed."""
        return self._subscribers.heard

    @property
    def connections(self) -> int:
        """How often the broker has accepted the connection."""
        return self._connection.connections

    @property
    def connected(self) -> threading.Event:
        """Set while the broker has accepted the connection."""
        return self._connection.connected

    @property
    def version(self) -> str:
        """ "5" or "3.1.1", or "" before the first connection."""
        return self._connection.version

    def publish_health(self, payload: bytes) -> None:
        """Send a health message (QoS 0, retained); dropped if there is no connection, or if it is too large."""
        session = self._connection.session
        if session is not None:
            self._send_or_tell(session, "health", payload, qos=0)

    def publish_specimen(self, payload: bytes) -> bool:
        """Send the specimen's count (QoS 1, retained); False if there is no connection, or if it is too large."""
        session = self._connection.session
        return session is not None and self._send_or_tell(session, "specimen", payload, qos=1) is not None

    def publish_view(self, payload: bytes) -> None:
        """Send a picture (QoS 0, not retained); dropped while the one before is not sent yet, or if it is too large."""
        session = self._connection.session
        if session is None or (self._view is not None and not self._view.is_published()):
            return
        with suppress(TooLargeError):
            self._view = session.send(f"{self._root}/view", payload, qos=0)

    def wait_drained(self, timeout_s: float) -> bool:
        """Wait until the broker has every record; False if some are left after `timeout_s`."""
        return self._outbox.wait_empty(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Wait for what is under way, announce "stopped" and disconnect; what is left stays in the outbox."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._commands.stop()
        self._outbox.wake()
        if self._thread is not None and self._thread.is_alive():
            self._idle.wait(timeout_s)
        self._idle.set()
        session = self._connection.session
        if session is not None and self._announces:
            try:
                message = session.send(f"{self._root}/status", status("stopped"), retain=True)
                message.wait_for_publish(max(0.0, deadline - time.monotonic()))
            except (RuntimeError, ValueError, TooLargeError) as error:  # the connection went in this moment
                log.warning('status "stopped" was not sent: %s', error)
        self._connection.stop()
        self._outbox.wake()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout=IDLE_S * 2)

    def _begin(self, client: BrokerClient) -> None:
        if self._announces:
            client.subscribe(self._commands.topic, qos=1)
        self._outbox.wake()

    def _on_subscribe(self, _client: BrokerClient, reasons: list[ReasonCode]) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused and not self._told_deaf:
            log.warning("the broker lets no commands through: %s on %s", refused[0], self._commands.topic)
        self._told_deaf = bool(refused)
        self.listening.set()

    def _on_publish(self, client: BrokerClient, message_id: int, reason: ReasonCode) -> None:
        # In paho's network thread, which holds paho's locks: only hand it on.
        self._acknowledged.put((client, message_id, reason))
        self._outbox.wake()

    def _run(self) -> None:
        self._retry_at = time.monotonic()  # begun anew after an error: what was missed is sent again
        while not self._idle.is_set():
            self._turned_at = time.monotonic()
            self._turn()
            self._outbox.wait_for_change(IDLE_S)

    def _turn(self) -> None:
        self._take_acknowledgements()
        self._follow_session()
        if self._silent is not self._session and self._under_way.look_for_silence():
            self._silent = self._session  # once for each connection
            self._connection.renew(self._under_way.silence)
        if self._stopping.is_set():
            if not self._under_way.sequences():
                self._idle.set()
            return
        if self._session is not None:
            self._resend_if_due()
            if not self._unsendable.record_first or not self._send(self._session):
                self._announce(self._session)
            self._send(self._session)

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
            remedy = f"let this user write to {self._root}/{self._topic} in the broker's access list"
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
        if fault == self._said or not self._announces:
            return
        self._said = fault
        message_id = self._send_or_tell(session, "status", status("online", fault), qos=1)
        if message_id is not None:
            self._under_way.add(message_id, None)

    def _send_or_tell(self, session: BrokerClient, name: str, payload: bytes, qos: int) -> int | None:
        """Publish a retained message; its id, or None if it is too large, which is logged once."""
        try:
            return session.send(f"{self._root}/{name}", payload, qos=qos, retain=True).mid
        except TooLargeError as error:
            if name not in self._told_too_large:
                self._told_too_large.add(name)
                log.warning("no %s is published: %s", name, error)
            return None

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
                message = session.send(f"{self._root}/{self._topic}", payload)
                self._under_way.add(message.mid, sequence)
                sent = True
            except TooLargeError as error:
                self._set_aside(sequence, str(error))
            self._cursor = sequence
        return sent

    def _set_aside(self, sequence: int, reason: str) -> None:
        self._under_way.waits_no_more(sequence)
        self._outbox.set_aside(sequence, reason)


def status(state: Literal["online", "offline", "stopped"], fault: str = "") -> bytes:
    """The message of the topic `status`."""
    return encode(Status(state=state, since=rfc3339(time.time_ns()), fault=fault))
