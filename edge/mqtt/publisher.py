"""The publisher: sends what the outbox holds, and removes it when the broker has acknowledged it."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from paho.mqtt.client import MQTTMessageInfo
from paho.mqtt.reasoncodes import ReasonCode

from edge.host import threads
from edge.mqtt.acknowledgements import TIMEOUT_S
from edge.mqtt.announcements import Announcements, status
from edge.mqtt.client import BrokerClient
from edge.mqtt.commands.remote import LARGEST_PACKET_BYTES, Handler, RemoteCommands
from edge.mqtt.connection import Connection
from edge.mqtt.delivery import WINDOW, Delivery, Queue
from edge.mqtt.limits import TooLargeError
from edge.mqtt.settings import MqttSettings

log = logging.getLogger(__name__)

# How long the publisher sleeps if nothing wakes it.
IDLE_S = 1.0
# The thread that sends turns at least every IDLE_S; after so long without a turn it hangs.
HANG_S = 20.0


class Publisher:
    """Sends what the outbox holds, in order, and removes it when the broker has acknowledged it.

    Args:
        settings: the broker.
        device: the box's name in topics.
        outbox: where the records wait.
        handlers: what does the commands that arrive, by name; see `edge.mqtt.commands.remote`.
        others: retained messages for other programs, as topic and payload; sent at each new connection.
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
        others: Sequence[tuple[str, bytes]] = (),
    ):
        self._announces, self._root = topic == "cells", f"{settings.topic}/{device}"
        self._outbox = outbox
        self._announcements = Announcements(self._root, others)
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
        self._delivery = Delivery(
            outbox,
            self._connection,
            f"{self._root}/{topic}",
            self._announcements if self._announces else None,
        )
        self._thread: threading.Thread | None = None
        self._turning = threading.Lock()  # held by the thread that calls `Delivery.turn`
        self._error: Exception | None = None  # of a turn in another thread

    def start(self) -> None:
        """Connect and send, in threads of their own; a broker that is absent is tried again for ever."""
        self._connection.start()
        self._commands.start()
        self._thread = threads.keep("publisher", self._run, self._idle)
        self._outbox.after_commit(self._send_committed)

    def state(self) -> str:
        """For health: "connected, MQTT 5" and what is wrong all the same, or "not connected: <why>"."""
        return "; ".join(filter(None, (self._connection.state(), *self._delivery.faults)))

    def hangs(self) -> str:
        """What is wrong with the threads that send, or ""; a broker that is away is not a fault of the threads."""
        if not (self._thread is not None and self._thread.is_alive() and self._connection.alive):
            return "its thread has ended"
        now = time.monotonic()
        if now - self._turned_at > HANG_S:
            return f"its thread hangs for {now - self._turned_at:.0f} s"
        waits_s = self._delivery.oldest_s()
        if waits_s > TIMEOUT_S + HANG_S:
            return (
                f"a message waits for {waits_s:.0f} s for its acknowledgement, and no new connection is made"
            )
        return self._commands.hangs()

    @property
    def heard(self) -> bool:
        """False while the broker reports that nobody has subscribed."""
        return self._delivery.heard

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
            self._announcements.send(session, "health", payload, qos=0)

    def publish_specimen(self, payload: bytes) -> bool:
        """Send the specimen's count (QoS 1, retained); False if there is no connection, or if it is too large."""
        session = self._connection.session
        return (
            session is not None and self._announcements.send(session, "specimen", payload, qos=1) is not None
        )

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
            self._announcements.stopped(session, max(0.0, deadline - time.monotonic()))
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
        self._delivery.acknowledged(client, message_id, reason)
        self._outbox.wake()

    def _run(self) -> None:
        self._delivery.begin_again()
        while not self._idle.is_set():
            self._turned_at = time.monotonic()
            with self._turning:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                if self._delivery.turn(self._stopping.is_set()):
                    self._idle.set()
            self._outbox.wait_for_change(IDLE_S)

    def _send_committed(self) -> bool:
        """In the outbox's thread: send what it has just committed, sooner than the publisher's own thread would wake up.

        Returns:
            Whether it was done; if not, it is left to that thread, which also reports what failed here.
        """
        if self._stopping.is_set() or not self._turning.acquire(blocking=False):
            return False
        try:
            self._delivery.turn(stopping=False)
        except Exception as error:  # must not end the outbox's thread
            self._error = error
            return False
        finally:
            self._turning.release()
        return True
