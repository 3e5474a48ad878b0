"""What a broker allows on a connection, as its CONNACK reports (MQTT 5 §3.2.2.3)."""

import msgspec
from paho.mqtt.properties import Properties

from edge.errors import LeukoscopeError
from edge.records import RECORD_BYTES

LARGEST_PACKET_BYTES = 268_435_460
"""The most that MQTT can carry: 256 MB and its fixed header."""
UNLIMITED_MESSAGES = 65_535

NOTABLE_PACKET_BYTES = RECORD_BYTES + 2048
"""A limit above this is larger than all that a box sends, and is not reported."""
NOTABLE_MESSAGES = 20
"""A limit of messages under way from this number on costs nothing, and is not reported."""


class TooLargeError(LeukoscopeError):
    """The broker does not take a packet of this size."""


class Limits(msgspec.Struct, frozen=True):
    """What the broker allows; the defaults are MQTT's own. A broker of 3.1.1 cannot report any.

    Attributes:
        packet_bytes: of one packet, its header included.
        retain: whether it keeps retained messages.
        qos: the highest quality of service that it takes.
        messages: of QoS 1 under way at once.
        keepalive_s: the keep-alive that it asks for in place of ours; None for ours.
        client_id: the client id that it gives us in place of ours; "" for ours.
    """

    packet_bytes: int = LARGEST_PACKET_BYTES
    retain: bool = True
    qos: int = 2
    messages: int = UNLIMITED_MESSAGES
    keepalive_s: int | None = None
    client_id: str = ""

    def said(self) -> str:
        """The limits that are tighter than what a box may need, for log, health and doctor; "" if there are none."""
        parts = []
        if self.packet_bytes < NOTABLE_PACKET_BYTES:
            parts.append(f"packets of {self.packet_bytes} bytes at most")
        if not self.retain:
            parts.append("no retained messages")
        if self.qos == 0:
            parts.append("QoS 0 alone, which acknowledges nothing: records stay in the outbox")
        if self.messages < NOTABLE_MESSAGES:
            parts.append(f"{self.messages} messages under way at once")
        if self.keepalive_s is not None:
            parts.append(f"a keep-alive of {self.keepalive_s} s")
        if self.client_id:
            parts.append(f"the client id {self.client_id}")
        return "the broker's limits: " + ", ".join(parts) if parts else ""


def of_connack(properties: Properties | None) -> Limits:
    """The limits that a CONNACK reports."""

    def value(name: str, default: int) -> int:
        found = getattr(properties, name, None)
        return default if found is None else int(found)

    keepalive_s = getattr(properties, "ServerKeepAlive", None)
    return Limits(
        # 0 is an error of the broker's in both (§3.2.2.3.3, §3.2.2.3.6).
        packet_bytes=value("MaximumPacketSize", 0) or LARGEST_PACKET_BYTES,
        retain=bool(value("RetainAvailable", 1)),
        qos=value("MaximumQoS", 2),
        messages=value("ReceiveMaximum", 0) or UNLIMITED_MESSAGES,
        keepalive_s=None if keepalive_s is None else int(keepalive_s),
        client_id=str(getattr(properties, "AssignedClientIdentifier", "")),
    )


def publish_bytes(
    topic: str, payload: bytes, qos: int, version: str, properties: Properties | None = None
) -> int:
    """Size of the PUBLISH packet (MQTT 5 §3.3), bytes."""
    rest = 2 + len(topic.encode()) + (2 if qos else 0) + len(payload)
    if version == "5":
        rest += 1 if properties is None else len(properties.pack())  # type: ignore[no-untyped-call]
    # The length of the rest takes a byte for each 7 bits.
    return 1 + max(1, -(-rest.bit_length() // 7)) + rest
