"""Loggers of one group share a stream; what the broker keeps for one that is lost is taken over by another.

A broker goes on giving a logger that is away its share, and keeps it in that logger's session. So each member
says by a retained message with a last will whether it is there; the first of those that are there connects in
the place of one that stays away, ends its subscription, and stores what was kept for it.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from paho.mqtt.client import Client, MQTTMessage

from edge.mqtt.connection import Connection

log = logging.getLogger(__name__)

# Until a logger that is away counts as lost: longer than a restart takes.
GRACE_S = 15.0
# A session that has delivered nothing for so long, with all of it stored, is empty.
QUIET_S = 5.0
TICK_S = 0.1
LEAVE_TIMEOUT_S = 2.0


class Presence(msgspec.Struct, frozen=True):
    """Whether a logger is there."""

    state: Literal["online", "offline"]


_ONLINE, _OFFLINE = (msgspec.json.encode(Presence(state)) for state in ("online", "offline"))


@dataclass(eq=False)
class Feed:
    """What comes over one connection: when last, and how much of it was acknowledged."""

    connection: Connection | None = None
    received: int = 0  # counted by the network thread alone
    acknowledged: int = 0  # by the writer's alone
    last_s: float = field(default_factory=time.monotonic)


@dataclass
class _Member:
    online: bool
    since_s: float


class Group:
    """One member's part.

    Args:
        name: of the group.
        client_id: of this member.
        topic: filter of the topics that carry records.
        connect: makes a connection with the id of a lost member, not yet started.
    """

    def __init__(
        self,
        name: str,
        client_id: str,
        topic: str,
        connect: Callable[[str, Callable[[Client], None]], Feed],
    ):
        levels = topic.split("/")
        wild = next((n for n, level in enumerate(levels) if level in ("+", "#")), len(levels))
        root = "/".join(levels[:wild]) or "leukoscope"
        self._folder = f"{root}/loggers/{name}/"
        self._name, self._client_id, self._connect = name, client_id, connect
        self.topic = f"$share/{name}/{topic}"
        self._members: dict[str, _Member] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._session: Client | None = None
        self._thread = threading.Thread(target=self._run, name="group", daemon=True)

    def will(self) -> tuple[str, Callable[[], bytes]]:
        """Topic and payload of the last will."""
        return self._folder + self._client_id, lambda: _OFFLINE

    def begin(self, client: Client) -> None:
        """Connected: subscribe to this member's share, and say that it is there."""
        self._session = client
        client.subscribe([(self.topic, 1), (self._folder + "+", 1)])
        client.publish(self._folder + self._client_id, _ONLINE, qos=1, retain=True)
        if not self._thread.ident:
            self._thread.start()

    def leave(self, client: Client) -> None:
        """Say that this member goes; its share is taken over unless it is back soon."""
        self._stopping.set()
        try:
            said = client.publish(self._folder + self._client_id, _OFFLINE, qos=1, retain=True)
            said.wait_for_publish(LEAVE_TIMEOUT_S)
        except (
            RuntimeError,
            ValueError,
        ) as error:  # the connection went in this moment, and the will says it
            log.debug("not said that this logger leaves: %s", error)
        if self._thread.is_alive():
            self._thread.join()

    def notice(self, message: MQTTMessage) -> bool:
        """Take a message about a member; False where it is about something else."""
        if not message.topic.startswith(self._folder):
            return False
        member = message.topic[len(self._folder) :]
        with self._lock:
            try:
                state = msgspec.json.decode(bytes(message.payload), type=Presence).state
                known = self._members.get(member)
                if known is None or known.online != (state == "online"):
                    self._members[member] = _Member(state == "online", time.monotonic())
            except msgspec.MsgspecError:  # empty: it was taken over
                self._members.pop(member, None)
        return True

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            lost = self._lost()
            if lost is not None:
                try:
                    self._take_over(lost)
                except Exception:  # the thread's top: the next one must be noticed
                    log.exception("group %s: unexpected error", self._name)

    def _lost(self) -> str | None:
        """A member to take over, where this one is the first that is there."""
        now_s = time.monotonic()
        with self._lock:
            there = {name for name, member in self._members.items() if member.online}
            if min(there | {self._client_id}) != self._client_id:
                return None
            for name, member in self._members.items():
                if name != self._client_id and not member.online and now_s - member.since_s >= GRACE_S:
                    return name
        return None

    def _take_over(self, name: str) -> None:
        log.warning("logger %s of group %s is gone; its share is stored here", name, self._name)
        feed = self._connect(name, self._unsubscribe)
        connection = feed.connection
        assert connection is not None
        connection.start()
        try:
            while not self._stopping.wait(TICK_S) and not self._is_back(name):
                quiet = feed.received == feed.acknowledged and time.monotonic() - feed.last_s >= QUIET_S
                if connection.connected.is_set() and quiet:
                    # Its session stays until it expires: should the logger come back, it finds it empty.
                    self._forget(name)
                    return
        finally:
            connection.stop()

    def _is_back(self, name: str) -> bool:
        with self._lock:
            member = self._members.get(name)
            return member is not None and member.online

    def _forget(self, name: str) -> None:
        with self._lock:
            self._members.pop(name, None)
        if self._session is not None:
            self._session.publish(self._folder + name, b"", qos=1, retain=True)

    def _unsubscribe(self, client: Client) -> None:
        client.unsubscribe(self.topic)
