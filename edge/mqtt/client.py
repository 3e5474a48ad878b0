"""paho's client, and what it leaves to its user: to keep to the broker's limits, and to notice that its network
thread has ended."""

import logging
import socket
import threading
from collections.abc import Callable

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from edge.mqtt.limits import Limits, TooLargeError, publish_bytes

log = logging.getLogger(__name__)

# How often paho's loop looks at the keep-alive, which a broker may set to one second.
LOOP_S = 0.25
# paho sends so many of QoS 1 before it waits for an acknowledgement.
PAHO_WINDOW = 20


class BrokerClient(Client):
    """One connection.

    Args:
        client_id: one at a time per broker.
        version: of MQTT, "5" or "3.1.1".
        clean: whether the broker drops the session at the end (3.1.1; in MQTT 5 it stands in CONNECT).
        manual_ack: whether messages are acknowledged by `ack` alone.
        on_thread_end: called in the network thread when that ends, for whatever reason.

    Attributes:
        limits: of the broker, once it has accepted the connection.
        failure: the unexpected error that ended the network thread, or None.
    """

    def __init__(
        self, client_id: str, version: str, clean: bool, manual_ack: bool, on_thread_end: Callable[[], None]
    ):
        five = version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=None if five else clean,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        self.version, self.limits = version, Limits()
        self.failure: Exception | None = None
        self._on_thread_end = on_thread_end
        self._writing = threading.Lock()

    def heed(self, limits: Limits) -> None:
        """Keep to these limits from now on; called from `on_connect`, while nothing is under way."""
        self.limits = limits
        # paho's own setter refuses it once there is a connection, and the limit is not known before.
        self._max_inflight_messages = min(PAHO_WINDOW, max(1, limits.messages))

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> MQTTMessageInfo:
        """Publish as the broker allows: without retain or with QoS 0 if it takes no more.

        Raises:
            TooLargeError: the broker takes no packet of this size.
        """
        qos = min(qos, self.limits.qos)
        if publish_bytes(topic, payload, qos, self.version, properties) > self.limits.packet_bytes:
            # Without its size, so that it is logged once for all.
            raise TooLargeError(
                f"larger than the {self.limits.packet_bytes} bytes that the broker takes in a packet"
            )
        return self.publish(topic, payload, qos, retain and self.limits.retain, properties)

    def loop_write(self) -> MQTTErrorCode:
        """As paho's, by one thread at a time; see `push`."""
        with self._writing:
            return super().loop_write()

    def push(self) -> None:
        """Write to the socket what `send` has left for the network thread, without waiting for that thread to wake up.

        What cannot be written now, or fails, is left to it. So is everything with TLS, whose connection must not be
        read and written at the same time.
        """
        if self._ssl or not self._writing.acquire(blocking=False):
            return
        try:
            self._packet_write()
        finally:
            self._writing.release()

    def cut(self) -> None:
        """End the connection at once, also if the broker does not read."""
        connection = self.socket()
        if isinstance(connection, socket.socket):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                log.debug("the connection had ended before it was cut")

    def loop_forever(self, timeout: float = LOOP_S, retry_first_connection: bool = False) -> MQTTErrorCode:
        """As paho's, which runs it in the network thread; what ends it is kept, since paho does not."""
        try:
            return super().loop_forever(min(timeout, LOOP_S), retry_first_connection)
        except Exception as error:  # the thread's top: a packet that is no MQTT, for example
            log.debug("the network thread ended by an unexpected error", exc_info=error)
            self.failure = error
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self._on_thread_end()
