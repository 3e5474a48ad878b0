"""What came from the broker and waits for the store: bounded in number and in bytes."""

import collections
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from paho.mqtt.client import Client

from edge.mqtt.connection import Connection

MESSAGES, BYTES = 2000, 32 * 1024 * 1024
"""What may wait in memory; above it the connection is not read."""
LINGER_S = 0.005
"""How long a batch waits for one message more: a commit costs as much, and many share one."""


@dataclass(eq=False)
class Feed:
    """What comes over one connection: when last, and how much of it was acknowledged."""

    connection: Connection | None = None
    received: int = 0  # counted by the network thread alone
    acknowledged: int = 0  # by the writer's alone
    last_s: float = field(default_factory=time.monotonic)


class Delivery(NamedTuple):
    """One message, and to whom it is acknowledged."""

    feed: Feed
    session: Client
    message_id: int
    qos: int
    topic: str
    payload: bytes


class Inbox:
    """A queue between the network threads and the writer's.

    Args:
        messages, size: how many messages, and bytes of their payloads and topics, may wait; one message always
            may.
    """

    def __init__(self, messages: int = MESSAGES, size: int = BYTES):
        self._messages, self._size = messages, size
        self._waiting: collections.deque[Delivery] = collections.deque()
        self._held = self.peak_messages = self.peak_bytes = 0
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, delivery: Delivery, timeout_s: float) -> bool:
        """Add a message; False if there was no room in this time, or the inbox is closed."""
        weight = _weight(delivery)
        with self._changed:
            if not self._has_room(weight):
                self._changed.wait_for(lambda: self._closed or self._has_room(weight), timeout_s)
            if self._closed or not self._has_room(weight):
                return False
            self._waiting.append(delivery)
            self._held += weight
            self.peak_messages = max(self.peak_messages, len(self._waiting))
            self.peak_bytes = max(self.peak_bytes, self._held)
            if len(self._waiting) == 1:  # else nobody waits for a first message
                self._changed.notify_all()
        return True

    def take(self, messages: int, size: int, timeout_s: float) -> list[Delivery]:
        """The messages that wait, oldest first; at most so many and of so many bytes, but one at least.

        Returns:
            Nothing if none came within the time.
        """
        batch: list[Delivery] = []
        with self._changed:
            taken = 0
            while len(batch) < messages:
                if not self._waiting:
                    if self._closed or not self._changed.wait(LINGER_S if batch else timeout_s):
                        break
                    continue
                weight = _weight(self._waiting[0])
                if batch and taken + weight > size:
                    break
                batch.append(self._waiting.popleft())
                taken += weight
                self._held -= weight
            self._changed.notify_all()
        return batch

    def close(self) -> None:
        """Take nothing more in; what waits can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, weight: int) -> bool:
        return not self._waiting or (
            len(self._waiting) < self._messages and self._held + weight <= self._size
        )


def _weight(delivery: Delivery) -> int:
    return len(delivery.payload) + len(delivery.topic)
