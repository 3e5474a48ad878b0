"""What the box says of itself: the retained messages of the topics status, health and specimen."""

import logging
import time
from collections.abc import Sequence
from typing import Literal

from edge.mqtt.client import BrokerClient
from edge.mqtt.limits import TooLargeError
from edge.records import Status, encode, rfc3339

log = logging.getLogger(__name__)


class Announcements:
    """Publishes retained messages below the box's root.

    Args:
        root: topic of the box, without a slash at its end.
        others: retained messages for other programs, as topic and payload; sent at each new connection.
    """

    def __init__(self, root: str, others: Sequence[tuple[str, bytes]] = ()):
        self._root, self._others = root, others
        self._told_too_large: set[str] = set()

    def send(self, session: BrokerClient, name: str, payload: bytes, qos: int) -> int | None:
        """Publish a retained message.

        Args:
            session: the connection.
            name: of the topic below the root.

        Returns:
            Its message id, or None if it is too large for this broker, which is logged once for each topic.
        """
        try:
            return session.send(f"{self._root}/{name}", payload, qos=qos, retain=True).mid
        except TooLargeError as error:
            if name not in self._told_too_large:
                self._told_too_large.add(name)
                log.warning("no %s is published: %s", name, error)
            return None

    def send_others(self, session: BrokerClient) -> list[int]:
        """Publish the messages for other programs (QoS 1, retained); their message ids."""
        try:
            return [session.send(topic, payload, qos=1, retain=True).mid for topic, payload in self._others]
        except TooLargeError as error:
            if "others" not in self._told_too_large:
                self._told_too_large.add("others")
                log.warning("Home Assistant is told nothing: %s", error)
            return []

    def stopped(self, session: BrokerClient, timeout_s: float) -> None:
        """Announce that the box was stopped, and wait for the broker to take it."""
        try:
            message = session.send(f"{self._root}/status", status("stopped"), retain=True)
            message.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError, TooLargeError) as error:  # the connection went in this moment
            log.warning('status "stopped" was not sent: %s', error)


def status(state: Literal["online", "offline", "stopped"], fault: str = "") -> bytes:
    """The message of the topic `status`."""
    return encode(Status(state=state, since=rfc3339(time.time_ns()), fault=fault))
