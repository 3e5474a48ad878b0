"""The logger: takes results from the broker, has them stored, and acknowledges only what is stored."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from paho.mqtt.client import MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import InputError
from edge.host.text import harmless
from edge.host.threads import guarded
from edge.logger import addresses
from edge.logger.group import Group
from edge.logger.identity import Identity
from edge.logger.inbox import BYTES, Delivery, Feed, Inbox
from edge.logger.stores.sink import Sink
from edge.logger.stores.sinks import open_sink
from edge.logger.writer import BATCH_LIMIT, OnStored, Writer
from edge.mqtt.client import BrokerClient
from edge.mqtt.connection import Connection
from edge.mqtt.credentials import Credentials

__all__ = ["Sink", "Subscriber", "open_sink"]

log = logging.getLogger(__name__)

LARGEST_PACKET = 1024 * 1024
"""Bytes of one message that a broker of MQTT 5 may send here; it drops what is larger. A record has about 700."""
HOLD_BACK_S = 5.0
"""How long a connection is not read while the inbox is full: less than a keep-alive."""
SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long the broker keeps results for a logger that is away."""
STOP_S = 5.0
"""How long a stop goes on storing what has arrived."""


class Subscriber:
    """Stores every result that the broker has, exactly once.

    Args:
        broker_url: mqtt://[user[:password]@]host[:port], or mqtts:// for TLS; the password may stand in the
            environment as LEUKOSCOPE_MQTT_PASSWORD.
        sink: where to; the subscriber closes it.
        topic: filter of the topics that carry records of cells. If it ends in /cells, the records of fields
            are stored too.
        client_id: by default one that is the same at every start on this machine for this sink.
        group: several loggers of one group share the results (MQTT 5 only); see `edge.logger.group`.
        version: of MQTT; "auto" tries 5, then 3.1.1.
        files: `password_file`, `ca_file`, `cert_file`, `key_file` as in the settings [mqtt].
        on_stored: called in the writer's thread with each record and whether it was new.

    Raises:
        InputError: the address cannot be read.
        LeukoscopeError: this logger's id cannot be kept.
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
        broker = addresses.broker(broker_url, version, files or {})
        if group is not None and (not group or set(group) & set("/+#")):
            raise InputError(f"group {group!r}: a name without /, + and #")
        self._settings = broker.settings
        self._credentials = Credentials(self._settings, broker.password, broker.tls)
        self._identity: Identity | None = None
        if not client_id:
            where = f"{self._settings.host}:{self._settings.port}"
            self._identity = Identity(where, sink.name, topic, group or "")
            client_id = self._identity.client_id
        self._sink = sink
        self._topics = [topic]
        if topic.endswith("/cells"):
            self._topics.append(topic.removesuffix("cells") + "fields")
        self._inbox = Inbox()
        self._writer = Writer(sink, self._inbox, on_stored)
        self._stopping = threading.Event()
        self._denied = ""  # why the broker refuses the subscription
        self._logged_unshared = self._logged_full = self._logged_fields = False
        self.subscribed = threading.Event()
        self._group = Group(group, client_id, self._topics, self._feed) if group else None
        feed = self._feed(client_id, self._subscribe, self._group.will() if self._group else None)
        assert feed.connection is not None
        self._connection = feed.connection

    def start(self) -> None:
        """Connect and store, in threads of their own."""
        self._writer.start()
        self._connection.start()

    def stop(self) -> None:
        """Store what has arrived, as far as STOP_S allows (the broker keeps the rest), disconnect, close the sink."""
        session = self._connection.session
        if self._group is not None:
            if session is not None:
                self._group.leave(session)
            else:
                self._group.stop()
        self._stopping.set()
        ended = self._writer.stop(STOP_S)
        self._connection.stop()
        if ended:
            self._sink.close()
        else:
            log.error("%s does not answer; what waits was not acknowledged and comes again", self._sink.name)
        if self._identity is not None:
            self._identity.release()

    def state(self) -> str:
        """ "connected, MQTT 5" or "not connected: <why>", and what is wrong with the store."""
        return "; ".join(filter(None, (self._connection.state(), self._denied, self._writer.fault)))

    @property
    def alive(self) -> bool:
        """Whether both of its threads run; without one of them nothing is stored."""
        return self._writer.alive and self._connection.alive

    @property
    def on_stored(self) -> OnStored | None:
        """Called in the writer's thread with each record and whether it was new."""
        return self._writer.on_stored

    @on_stored.setter
    def on_stored(self, on_stored: OnStored | None) -> None:
        self._writer.on_stored = on_stored

    @property
    def version(self) -> str:
        """ "5" or "3.1.1", or "" before the first connection."""
        return self._connection.version

    def _feed(
        self,
        client_id: str,
        on_connected: Callable[[BrokerClient], None],
        will: tuple[str, Callable[[], bytes]] | None = None,
    ) -> Feed:
        """A connection whose messages are stored here."""
        feed = Feed()

        def connected(client: BrokerClient) -> None:
            feed.last_s = time.monotonic()  # what the broker kept comes from now on
            on_connected(client)

        feed.connection = Connection(
            self._settings,
            client_id,
            credentials=self._credentials,
            will=will,
            session_expiry_s=SESSION_EXPIRY_S,
            window=BATCH_LIMIT,
            packet_bytes=LARGEST_PACKET,
            on_connected=connected,
            on_message=guarded("logger: a message", partial(self._on_message, feed)),
            on_subscribe=guarded("logger: the answer to a subscription", self._on_subscribe),
        )
        return feed

    def _subscribe(self, client: BrokerClient) -> None:
        if self._group is not None and self._connection.version == "5":
            self._group.begin(client)
            return
        if self._group is not None and not self._logged_unshared:
            self._logged_unshared = True
            log.warning(
                "the broker speaks only MQTT 3.1.1: a group cannot share, this logger gets all results"
            )
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(self, client: BrokerClient, reasons: list[ReasonCode]) -> None:
        refused = [reason if reason.is_failure else None for reason in reasons]
        if refused[0] is not None:
            denied = f"the broker refuses the subscription to {self._topics[0]}: {refused[0]}"
            if denied != self._denied:
                log.error("%s; let this user read it in the broker's access list", denied)
            self._denied = denied
            client.disconnect()  # and so tried again, with back-off
            return
        if any(refused) and not self._logged_fields:
            self._logged_fields = True
            log.warning(
                "the broker refuses a part of the subscription (%s): cells are stored, but let this user read %s "
                "and the loggers' topic in the broker's access list",
                next(filter(None, refused)),
                self._topics[-1],
            )
        self._denied = ""
        if not self.subscribed.is_set():
            log.info("subscribed to %s", " and ".join(self._topics))
            self.subscribed.set()

    def _on_message(self, feed: Feed, client: BrokerClient, message: MQTTMessage) -> None:
        if self._stopping.is_set():  # not acknowledged, so that it comes again
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no broker should pass this on, and nobody can name a device so
            client.ack(message.mid, message.qos)
            return
        if self._group is not None and self._group.notice(topic, message):
            client.ack(message.mid, message.qos)
            return
        delivery = Delivery(feed, client, message.mid, message.qos, topic, bytes(message.payload))
        feed.last_s = time.monotonic()
        # Mosquitto 2.0 sends more than it was allowed to once something is acknowledged; TCP holds it back.
        if self._inbox.put(delivery, HOLD_BACK_S):
            feed.received += 1
            return
        if not self._logged_full and not self._stopping.is_set():
            self._logged_full = True
            log.warning(
                "%s: more comes than %s stores, and %d MB wait; the connection is made anew, the broker keeps the rest",
                harmless(topic),
                self._sink.name,
                BYTES >> 20,
            )
        client.disconnect()
