"""The logger: takes results from the broker, stores them, and acknowledges only what is stored."""

import fcntl
import hashlib
import logging
import os
import queue
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Literal
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import InputError, LeukoscopeError
from edge.logger.group import Feed, Group
from edge.logger.sinks import Reject, Sink, open_sink
from edge.mqtt.connection import Connection
from edge.mqtt.credentials import Credentials
from edge.mqtt.settings import MqttSettings
from edge.records import Record, decode_record, rfc3339

__all__ = ["Sink", "Subscriber", "open_sink"]

log = logging.getLogger(__name__)

# What one transaction takes; the broker sends no more than this without an acknowledgement.
BATCH_LIMIT = 500
# Of a message that is no record: what is kept of it, and how many different reasons are logged.
REJECT_BYTES, LOGGED_LIMIT = 16 * 1024, 50
# What waits for the store in memory; above it the connection is not read, for less than a keep-alive lasts.
QUEUE_LIMIT, HOLD_BACK_S = 4 * BATCH_LIMIT, 5.0
# Between attempts while the store refuses.
RETRY_S = 1.0
# How long the broker keeps results for a logger that is away.
SESSION_EXPIRY_S = 7 * 24 * 3600

OnStored = Callable[[Record, bool], None]
_Delivery = tuple[Feed, Client, int, int, str, bytes]  # session, message id, QoS, topic, payload


class Subscriber:
    """Stores every result that the broker has, exactly once.

    Args:
        broker_url: mqtt://[user[:password]@]host[:port], or mqtts:// for TLS; the password may stand in the
            environment as LEUKOSCOPE_MQTT_PASSWORD.
        sink: where to; the subscriber closes it.
        topic: filter of the topics that carry records.
        client_id: by default one that is the same at every start on this machine for this sink.
        group: several loggers of one group share the results (MQTT 5 only); see `edge.logger.group`.
        version: of MQTT; "auto" tries 5, then 3.1.1.
        files: `password_file`, `ca_file`, `cert_file`, `key_file` as in the settings [mqtt].
        on_stored: called in the writer's thread with each record and whether it was new.

    Raises:
        InputError: the address cannot be read.
    """

    def __init__(
        self,
        broker_url: str,
        sink: Sink,
        topic: str = "leukoscope/+/cells",
        client_id: str = "",
        group: str | None = None,
        on_stored: OnStored | None = None,
        version: Literal["auto", "5", "3.1.1"] = "auto",
        files: Mapping[str, str] | None = None,
    ):
        self._settings, password, tls = _parse_url(broker_url, version, files or {})
        if group is not None and (not group or set(group) & set("/+#")):
            raise InputError(f"group {group!r}: a name without /, + and #")
        self._slot: IO[str] | None = None
        if not client_id:
            client_id, self._slot = _client_id(
                f"{self._settings.host}:{self._settings.port}", sink.name, topic, group or ""
            )
        self._sink, self._topic, self.on_stored = sink, topic, on_stored
        self._credentials = Credentials(self._settings, password, tls)
        self._deliveries: queue.SimpleQueue[_Delivery] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._fault = self._denied = ""  # of the store; of the subscription
        self._told: set[str] = set()
        self._told_unshared = False
        self.subscribed = threading.Event()
        self._group = Group(group, client_id, topic, self._feed) if group else None
        feed = self._feed(client_id, self._subscribe, self._group.will() if self._group else None)
        assert feed.connection is not None
        self._connection = feed.connection
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)

    def start(self) -> None:
        """Connect and store, in threads of their own."""
        self._thread.start()
        self._connection.start()

    def stop(self) -> None:
        """Store what has arrived, disconnect (the broker keeps what comes later) and close the sink."""
        session = self._connection.session
        if self._group is not None and session is not None:
            self._group.leave(session)
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._connection.stop()
        self._sink.close()
        if self._slot is not None:
            self._slot.close()

    def state(self) -> str:
        """ "connected, MQTT 5" or "not connected: <why>", and what is wrong with the store."""
        return "; ".join(filter(None, (self._connection.state(), self._denied, self._fault)))

    @property
    def version(self) -> str:
        """ "5" or "3.1.1", or "" before the first connection."""
        return self._connection.version

    def _feed(
        self,
        client_id: str,
        on_connected: Callable[[Client], None],
        will: tuple[str, Callable[[], bytes]] | None = None,
    ) -> Feed:
        """A connection whose messages are stored here."""
        feed = Feed()
        feed.connection = Connection(
            self._settings,
            client_id,
            credentials=self._credentials,
            will=will,
            session_expiry_s=SESSION_EXPIRY_S,
            window=BATCH_LIMIT,
            on_connected=on_connected,
            on_message=partial(self._on_message, feed),
            on_subscribe=self._on_subscribe,
        )
        return feed

    def _subscribe(self, client: Client) -> None:
        if self._group is not None and self._connection.version == "5":
            self._group.begin(client)
            return
        if self._group is not None and not self._told_unshared:
            self._told_unshared = True
            log.warning(
                "the broker speaks only MQTT 3.1.1: a group cannot share, this logger gets all results"
            )
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, client: Client, reasons: list[ReasonCode]) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            denied = f"the broker refuses the subscription to {self._topic}: {refused[0]}"
            if denied != self._denied:
                log.error("%s; let this user read it in the broker's access list", denied)
            self._denied = denied
            client.disconnect()  # and so tried again, with back-off
            return
        self._denied = ""
        if not self.subscribed.is_set():
            log.info("subscribed to %s", self._topic)
            self.subscribed.set()

    def _on_message(self, feed: Feed, client: Client, message: MQTTMessage) -> None:
        if self._group is not None and self._group.notice(message):
            client.ack(message.mid, message.qos)
            return
        # Mosquitto 2.0 sends more than it was allowed to as soon as something is acknowledged; TCP holds it back.
        deadline = time.monotonic() + HOLD_BACK_S
        while self._deliveries.qsize() >= QUEUE_LIMIT and time.monotonic() < deadline:
            if self._stopping.wait(0.01):
                break
        feed.last_s = time.monotonic()
        feed.received += 1
        self._deliveries.put((feed, client, message.mid, message.qos, message.topic, bytes(message.payload)))

    def _run(self) -> None:
        while not (self._stopping.is_set() and self._deliveries.empty()):
            batch = self._take()
            try:
                if batch and self._store(batch):
                    self._acknowledge(batch)
            except Exception:  # the thread's top; what is not acknowledged comes again
                log.exception("subscriber: unexpected error, goes on")

    def _take(self) -> list[_Delivery]:
        """What waits, or what comes within half a second."""
        try:
            batch = [self._deliveries.get(timeout=0.5 if not self._stopping.is_set() else 0)]
        except queue.Empty:
            return []
        while len(batch) < BATCH_LIMIT and not self._deliveries.empty():
            batch.append(self._deliveries.get())
        return batch

    def _store(self, batch: list[_Delivery]) -> bool:
        """Store a batch, again and again until it is done; False where the stop came first."""
        records, rejects = [], []
        for *_, topic, payload in batch:
            if not payload:  # `leukoscope doctor` tries with it whether a box may publish
                continue
            try:
                records.append(decode_record(payload))
            except InputError as error:
                rejects.append(self._reject(topic, payload, str(error)))
        while True:
            try:
                new = self._sink.store(records, rejects)
                break
            except LeukoscopeError as error:
                if not self._fault:
                    log.error("%s; trying again, the broker keeps the results", error)
                self._fault = str(error)
                if self._stopping.wait(RETRY_S):
                    return False
        if self._fault:
            log.info("results are stored again")
            self._fault = ""
        for record, is_new in zip(records, new):
            if self.on_stored is not None:
                self._tell(record, is_new)
        return True

    def _reject(self, topic: str, payload: bytes, reason: str) -> Reject:
        fault = f"{topic}: {reason}"
        if fault not in self._told and len(self._told) < LOGGED_LIMIT:
            self._told.add(fault)
            log.warning("rejected a message on %s", fault)
        if len(payload) > REJECT_BYTES:
            reason = f"{reason} (the first {REJECT_BYTES} of {len(payload)} bytes are kept)"
        return Reject(
            received_at=rfc3339(time.time_ns()),
            topic=topic,
            payload=payload[:REJECT_BYTES],
            reason=reason.replace("\x00", ""),
        )

    def _tell(self, record: Record, new: bool) -> None:
        assert self.on_stored is not None
        try:
            self.on_stored(record, new)
        except Exception:  # not ours: it must not keep a stored result from its acknowledgement
            log.exception("on_stored failed")

    def _acknowledge(self, batch: list[_Delivery]) -> None:
        """Acknowledge to the connection that delivered; after its end the broker delivers again."""
        for feed, session, message_id, qos, *_ in batch:
            feed.acknowledged += 1
            if feed.connection is not None and session is feed.connection.session:
                session.ack(message_id, qos)


def _parse_url(
    broker_url: str, version: Literal["auto", "5", "3.1.1"], files: Mapping[str, str]
) -> tuple[MqttSettings, str, bool]:
    """Settings, password and whether TLS is asked for."""
    advice = "use mqtt://[user@]host[:port], or mqtts:// for TLS"
    try:
        url = urlsplit(broker_url)
        tls = url.scheme == "mqtts"
        port = url.port or (8883 if tls else 1883)
    except ValueError as error:
        raise InputError(f"the broker's address cannot be read: {error}; {advice}") from error
    if url.scheme not in ("mqtt", "mqtts") or not url.hostname or url.path not in ("", "/"):
        raise InputError(f"the broker's address is not {url.scheme}://{url.hostname}{url.path}: {advice}")
    settings = MqttSettings(
        host=url.hostname,
        port=port,
        version=version,
        username=unquote(url.username or ""),
        password_file=files.get("password_file", ""),
        ca_file=files.get("ca_file", ""),
        cert_file=files.get("cert_file", ""),
        key_file=files.get("key_file", ""),
    )
    return settings, unquote(url.password or ""), tls


def _client_id(*identity: str) -> tuple[str, IO[str]]:
    """An id that is the same at every start, so that the broker's session is found again.

    Loggers that would have the same one here get the next number; a lock file shows which are taken.
    """
    whole = "\n".join((socket.gethostname(), str(os.getuid()), *identity))
    digest = hashlib.sha256(whole.encode()).hexdigest()[:12]
    for number in range(1000):
        client_id = f"leukoscope-log-{digest}-{number}"
        try:
            lock = open(Path(tempfile.gettempdir()) / f"{client_id}.lock", "w")
        except OSError as error:
            raise LeukoscopeError(f"cannot write {client_id}.lock in {tempfile.gettempdir()}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return client_id, lock
        except OSError:
            lock.close()
    raise LeukoscopeError("a thousand loggers of this kind run on this machine already")
