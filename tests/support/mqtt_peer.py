"""A small MQTT broker that follows a script: what no real one does on purpose."""

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = (
    1, 2, 3, 4, 8, 9, 12, 13, 14,
)  # fmt: skip
# Ids and sizes of the properties of CONNACK (MQTT 5 §3.2.2.3).
PROPERTIES = {
    "receive_maximum": (33, "!H"),
    "maximum_qos": (36, "!B"),
    "retain_available": (37, "!B"),
    "maximum_packet_size": (39, "!I"),
    "server_keep_alive": (19, "!H"),
    "assigned_client_id": (18, "text"),
}


@dataclass
class Published:
    """A PUBLISH that came; `sequence` is None where it is no record."""

    message_id: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    size: int

    @property
    def is_record(self) -> bool:
        return self.topic.endswith("/cells") and bool(self.payload)

    @property
    def sequence(self) -> int | None:
        return int(json.loads(self.payload)["sequence"]) if self.is_record else None


class Link:
    """One connection as the peer has it."""

    def __init__(self, peer: "Peer", connection: socket.socket, number: int):
        self.peer, self.number, self._socket = peer, number, connection
        self.client_id, self.five, self.keepalive_s = "", True, 0
        self.will_retain, self.will_qos, self.has_will = False, 0, False

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def accept(self, **properties: int | str) -> None:
        if not self.five:
            self.send(packet(CONNACK, b"\x00\x00"))
            return
        packed = b""
        for name, value in properties.items():
            number, form = PROPERTIES[name]
            packed += bytes([number])
            packed += text(str(value)) if form == "text" else struct.pack(form, value)
        self.send(packet(CONNACK, b"\x00\x00" + length(len(packed)) + packed))

    def acknowledge(self, message_id: int, reason: int = 0) -> None:
        body = struct.pack("!H", message_id) + (bytes([reason, 0]) if self.five and reason else b"")
        self.send(packet(PUBACK, body))

    def publish(self, topic: str | bytes, payload: bytes, retain: bool = False) -> None:
        name = topic if isinstance(topic, bytes) else topic.encode()
        body = struct.pack("!H", len(name)) + name + (b"\x00" if self.five else b"") + payload
        self.send(packet(PUBLISH, body, flags=int(retain)))


class Script:
    """What the peer does; the defaults are those of an honest broker."""

    def connect(self, link: Link) -> None:
        link.accept()

    def publish(self, link: Link, message: Published) -> None:
        link.peer.take(link, message)

    def ping(self, link: Link) -> None:
        link.send(packet(PINGRESP, b""))


class Peer:
    """Listens on a free port; `script` makes what happens on each connection, by its number from 0."""

    def __init__(self, script: Callable[[int], Script]):
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.links: list[Link] = []
        self.came: list[Published] = []  # every PUBLISH
        self.taken: list[Published] = []  # what was acknowledged
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def take(self, link: Link, message: Published) -> None:
        """Acknowledge as a broker does that has it."""
        self.taken.append(message)
        if message.qos:
            link.acknowledge(message.message_id)

    def sequences(self) -> set[int]:
        return {s for message in list(self.taken) if (s := message.sequence) is not None}

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for connection in self._sockets:
            connection.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(connection)
            link = Link(self, connection, len(self.links))
            self.links.append(link)
            threading.Thread(target=self._serve, args=(link, connection), daemon=True).start()

    def _serve(self, link: Link, connection: socket.socket) -> None:
        script = self._script(link.number)
        try:
            with connection, connection.makefile("rb") as stream:
                while (received := read(stream)) is not None:
                    kind, flags, body, size = received
                    if kind == CONNECT:
                        _understand(link, body)
                        script.connect(link)
                    elif kind == PUBLISH:
                        message = _published(link, flags, body, size)
                        self.came.append(message)
                        script.publish(link, message)
                    elif kind == SUBSCRIBE:
                        link.send(packet(SUBACK, body[:2] + (b"\x00" if link.five else b"") + b"\x01"))
                    elif kind == PINGREQ:
                        script.ping(link)
                    elif kind == DISCONNECT:
                        return
        except (OSError, ValueError):  # the client went, or this end was closed
            return


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    return bytes([kind << 4 | flags]) + length(len(body)) + body


def text(value: str) -> bytes:
    return struct.pack("!H", len(value.encode())) + value.encode()


def length(value: int) -> bytes:
    out = b""
    while True:
        value, digit = divmod(value, 128)
        out += bytes([digit | (0x80 if value else 0)])
        if not value:
            return out


def read(stream) -> tuple[int, int, bytes, int] | None:  # type: ignore[no-untyped-def]
    first = stream.read(1)
    if not first:
        return None
    size, shift, digits = 0, 0, 0
    while True:
        digit = stream.read(1)
        if not digit:
            return None
        digits += 1
        size |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            break
    body = stream.read(size)
    return (first[0] >> 4, first[0] & 15, body, 1 + digits + size) if len(body) == size else None


def _understand(link: Link, body: bytes) -> None:
    name_length = struct.unpack("!H", body[:2])[0]
    version, flags, link.keepalive_s = struct.unpack("!BBH", body[2 + name_length : 6 + name_length])
    link.five = version == 5
    link.has_will, link.will_retain, link.will_qos = bool(flags & 4), bool(flags & 0x20), flags >> 3 & 3
    at = 6 + name_length
    if link.five:
        at += 1 + body[at]  # the properties are short
    size = struct.unpack("!H", body[at : at + 2])[0]
    link.client_id = body[at + 2 : at + 2 + size].decode()


def _published(link: Link, flags: int, body: bytes, size: int) -> Published:
    name_length = struct.unpack("!H", body[:2])[0]
    topic, at = body[2 : 2 + name_length].decode(), 2 + name_length
    qos, message_id = flags >> 1 & 3, 0
    if qos:
        message_id, at = struct.unpack("!H", body[at : at + 2])[0], at + 2
    if link.five:
        at += 1 + body[at]
    return Published(message_id, topic, body[at:], qos, bool(flags & 1), size)
