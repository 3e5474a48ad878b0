"""The connection to the broker, and the publisher that drains the outbox."""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import Literal

from paho.mqtt.client import Client
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.mqtt.commands import Handler, RemoteCommands
from edge.mqtt.connection import Connection
from edge.mqtt.settings import MqttSettings
from edge.outbox.queue import Outbox
from edge.records import Status, encode, rfc3339

__all__ = ["Connection", "MqttSettings", "Publisher"]

log = logging.getLogger(__name__)

# Records under way at once, as many as paho sends; the broker's ReceiveMaximum may make it fewer.
WINDOW = 20
# Until a record that the broker refused is sent again.
REFUSED_RETRY_S = 5.0
# What a broker of MQTT 5 may answer where nobody has subscribed.
NO_SUBSCRIBERS = 16
# How long records are sent again for a logger that was there and is not, and after what pause each.
HOLD_S, HELD_RETRY_S = 120.0, 1.0
# How long the publisher sleeps where nothing wakes it.
IDLE_S = 1.0
# The thread that sends turns at least every IDLE_S; after so long without a turn it hangs.
HANG_S = 20.0


class Publisher:
    """Sends what the outbox holds, in order, and removes it when the broker has acknowledged it.

    Args:
        settings: the broker.
        device: the box's name in topics.
        outbox: where the records wait.
        handlers: what does the commands that arrive, by name; see `edge.mqtt.commands`.

    Raises:
        InputError: password, CA or certificate file cannot be read.
    """

    def __init__(
        self,
        settings: MqttSettings,
        device: str,
        outbox: Outbox,
        handlers: Mapping[str, Handler] | None = None,
    ):
        self._root = f"{settings.topic}/{device}"
        self._outbox = outbox
        self._acknowledged: queue.SimpleQueue[tuple[Client, int, ReasonCode]] = queue.SimpleQueue()
        self._session: Client | None = None  # the one that _in_flight and _cursor belong to
        self._in_flight: dict[int, int] = {}  # message id → sequence
        self._cursor = 0  # the last sequence that was sent in this session
        self._retry_at = 0.0  # monotonic; 0 where nothing was refused
        self._fault = self._said = ""  # of the broker; of the outbox, as the status has it
        self.heard = True  # False where the broker says that nobody has subscribed
        self._had_logger, self._unheard_since = False, 0.0
        self._told_deaf = False
        self._turned_at = time.monotonic()
        self._stopping, self._idle = threading.Event(), threading.Event()
        self._commands = RemoteCommands(self._root, handlers or {})
        self._connection = Connection(
            settings,
            client_id=f"leukoscope-{device}",
            will=(f"{self._root}/status", lambda: _status("offline")),
            on_connected=self._begin,
            on_publish=self._on_publish,
            on_message=self._commands.receive,
            on_subscribe=self._on_subscribe,
            window=WINDOW,
        )
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Connect and send, in threads of their own; a broker that is absent is tried again for ever."""
        self._connection.start()
        self._commands.start()
        self._thread.start()

    def state(self) -> str:
        """For health: "connected, MQTT 5", "not connected: <why>"."""
        return self._connection.state() + (f"; {self._fault}" if self._fault else "")

    def hangs(self) -> str:
        """What is wrong with the threads that send, or ""; a broker that is away is nothing wrong here."""
        if not (self._thread.is_alive() and self._connection.alive):
            return "its thread has ended"
        idle_s = time.monotonic() - self._turned_at
        return f"its thread hangs for {idle_s:.0f} s" if idle_s > HANG_S else ""

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
        """Send a health message (QoS 0, retained); dropped where there is no connection."""
        session = self._connection.session
        if session is not None:
            session.publish(f"{self._root}/health", payload, qos=0, retain=True)

    def wait_drained(self, timeout_s: float) -> bool:
        """Wait until the broker has every record; False where some are left after `timeout_s`."""
        return self._outbox.wait_empty(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Wait for what is under way, say "stopped" and disconnect; what is left stays in the outbox."""
        deadline = time.monotonic() + timeout_s
        self._stopping.set()
        self._commands.stop()
        self._outbox.wake()
        if self._thread.is_alive():
            self._idle.wait(timeout_s)
        session = self._connection.session
        if session is not None:
            try:
                message = session.publish(f"{self._root}/status", _status("stopped"), qos=1, retain=True)
                message.wait_for_publish(max(0.0, deadline - time.monotonic()))
            except (RuntimeError, ValueError) as error:  # the connection went in this moment
                log.warning('status "stopped" was not sent: %s', error)
        self._connection.stop()
        self._outbox.wake()
        if self._thread.is_alive():
            self._thread.join(timeout=IDLE_S * 2)

    def _begin(self, client: Client) -> None:
        client.subscribe(self._commands.topic, qos=1)
        self._announce(client)

    def _on_subscribe(self, _client: Client, reasons: list[ReasonCode]) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused and not self._told_deaf:
            log.warning("the broker lets no commands through: %s on %s", refused[0], self._commands.topic)
        self._told_deaf = bool(refused)

    def _announce(self, client: Client) -> None:
        self._said = self._outbox.fault()
        client.publish(f"{self._root}/status", _status("online", self._said), qos=1, retain=True)
        self._outbox.wake()

    def _say_fault(self) -> None:
        """Correct the retained status where the outbox became full or has room again."""
        session = self._session
        if session is not None and self._outbox.fault() != self._said:
            self._announce(session)

    def _on_publish(
        self, client: Client, message_id: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        # In paho's network thread, which holds paho's locks: only hand it on.
        self._acknowledged.put((client, message_id, reason))
        self._outbox.wake()

    def _run(self) -> None:
        while not self._idle.is_set():
            self._turned_at = time.monotonic()
            try:
                self._take_acknowledgements()
                self._follow_session()
                self._say_fault()
                if not self._stopping.is_set():
                    self._send()
                elif not self._in_flight:
                    self._idle.set()
                self._outbox.wait_for_change(IDLE_S)
            except Exception:  # the thread's top: results must go on being sent
                log.exception("publisher: unexpected error, goes on")
                self._stopping.wait(IDLE_S)

    def _take_acknowledgements(self) -> None:
        accepted = []
        while not self._acknowledged.empty():
            session, message_id, reason = self._acknowledged.get()
            sequence = self._in_flight.pop(message_id, None) if session is self._session else None
            if sequence is None:
                continue
            if reason.is_failure:
                self._refused(sequence, str(reason))
            elif self._held(reason.value == NO_SUBSCRIBERS):
                self._retry_at = time.monotonic() + HELD_RETRY_S
            else:
                accepted.append(sequence)
        if accepted:
            self._outbox.remove(accepted)
            if self._fault and not self._retry_at:
                log.info("the broker accepts records again")
                self._fault = ""

    def _held(self, unheard: bool) -> bool:
        """Whether a record that the broker took, but keeps for nobody, is sent again.

        It is for a while where a logger was there before: a broker that came back without its sessions is
        found by the box before the logger has found it. Else it counts as delivered, and that is said.
        """
        if not unheard:
            if not self.heard:
                log.info("a logger takes the records")
            self.heard, self._had_logger, self._unheard_since = True, True, 0.0
            return False
        self._unheard_since = self._unheard_since or time.monotonic()
        if self._had_logger and time.monotonic() - self._unheard_since < HOLD_S:
            return True
        self._had_logger = False
        if self.heard:
            log.warning(
                "no logger has subscribed to %s/cells at this broker, which keeps the records for none; "
                "start leukoscope log there once",
                self._root,
            )
        self.heard = False
        return False

    def _refused(self, sequence: int, reason: str) -> None:
        """The broker refused a record: it stays in the outbox and is sent again later."""
        self._retry_at = time.monotonic() + REFUSED_RETRY_S
        fault = f"the broker refuses records: {reason}"
        if fault != self._fault:
            log.error(
                "%s (sequence %d); let this user write to %s/cells in the broker's access list; "
                "they stay in the outbox",
                fault,
                sequence,
                self._root,
            )
            self._fault = fault

    def _follow_session(self) -> None:
        """After a reconnect nothing is under way: begin again with the oldest record."""
        session = self._connection.session
        if session is not self._session:
            self._session, self._cursor, self._retry_at = session, 0, 0.0
            self._in_flight.clear()

    def _send(self) -> None:
        session = self._session
        if session is None:
            return
        if self._retry_at:
            if self._in_flight or time.monotonic() < self._retry_at:
                return
            self._retry_at, self._cursor = 0.0, 0
        room = min(WINDOW, self._connection.receive_maximum) - len(self._in_flight)
        if room <= 0:
            return
        for sequence, payload in self._outbox.pending(self._cursor, room):
            message = session.publish(f"{self._root}/cells", payload, qos=1)
            self._in_flight[message.mid] = sequence
            self._cursor = sequence


def _status(state: Literal["online", "offline", "stopped"], fault: str = "") -> bytes:
    return encode(Status(state=state, since=rfc3339(time.time_ns()), fault=fault))
