"""Loggers of one group share a stream; what the broker keeps for one that is lost is taken over by another.

A broker goes on giving a logger that is away its share, and keeps it in that logger's session. So each member
reports in a retained message with a last will whether it is there; one of those that are there connects in the
place of one that stays away, ends its subscription, and stores what was kept for it.

Anyone who may write to the broker can forge such a message, so none is trusted further than this: only ids that a
logger can have are taken over, a member that is called lost and is there contradicts, and whoever is called the
first but does nothing is not waited for.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from paho.mqtt.client import MQTTMessage

from edge.host import threads
from edge.host.text import harmless
from edge.logger.identity import LOGGER_ID
from edge.logger.inbox import Feed
from edge.mqtt.client import BrokerClient

log = logging.getLogger(__name__)

# Until a logger that is away counts as lost: longer than a restart takes. The second in line waits twice as long,
# and so on up to the last factor.
GRACE_S, LAST_IN_LINE = 15.0, 4
# A session that has delivered nothing for so long, with all of it stored, is empty.
QUIET_S = 5.0
# An address that never connects must not keep the other lost members waiting.
TAKE_OVER_S = 120.0
TICK_S = 0.1
LEAVE_TIMEOUT_S = 2.0
# How often a member that is there contradicts who calls it lost.
CONTRADICT_S = 1.0
MEMBERS, PRESENCE_BYTES, LOGGED_LIMIT = 200, 1024, 20


class Presence(msgspec.Struct, frozen=True):
    """Whether a logger is there."""

    state: Literal["online", "offline"]


_ONLINE, _OFFLINE = (msgspec.json.encode(Presence(state)) for state in ("online", "offline"))


@dataclass
class _Member:
    online: bool
    since_s: float
    seen: bool  # whether it was online while this one watched: more than a message of somebody's


class Group:
    """One member's part.

    Args:
        name: of the group.
        client_id: of this member.
        topics: filters of the topics that carry records.
        connect: makes a connection with the id of a lost member, not yet started.
    """

    def __init__(
        self,
        name: str,
        client_id: str,
        topics: Sequence[str],
        connect: Callable[[str, Callable[[BrokerClient], None]], Feed],
    ):
        levels = topics[0].split("/")
        wild = next((n for n, level in enumerate(levels) if level in ("+", "#")), len(levels))
        root = "/".join(levels[:wild]) or "leukoscope"
        self._folder = f"{root}/loggers/{name}/"
        self._name, self._client_id, self._connect = name, client_id, connect
        self.topics = [f"$share/{name}/{topic}" for topic in topics]
        self._members: dict[str, _Member] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._session: BrokerClient | None = None
        self._thread: threading.Thread | None = None
        self._contradicted_s = float("-inf")
        self._logged: set[str] = set()

    def will(self) -> tuple[str, Callable[[], bytes]]:
        """Topic and payload of the last will."""
        return self._folder + self._client_id, lambda: _OFFLINE

    def begin(self, client: BrokerClient) -> None:
        """Connected: subscribe to this member's share, and report that it is there."""
        self._session = client
        client.subscribe([*((topic, 1) for topic in self.topics), (self._folder + "+", 1)])
        client.send(self._folder + self._client_id, _ONLINE, retain=True)
        if self._thread is None:
            self._thread = threads.start(f"logger: group {self._name}", self._run)

    def leave(self, client: BrokerClient) -> None:
        """Report that this member goes; its share is taken over unless it is back soon."""
        self._stopping.set()
        try:
            said = client.send(self._folder + self._client_id, _OFFLINE, retain=True)
            said.wait_for_publish(LEAVE_TIMEOUT_S)
        except (RuntimeError, ValueError) as error:  # the connection ended just now, and the will reports it
            log.debug("not reported that this logger leaves: %s", error)
        self.stop()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def notice(self, topic: str, message: MQTTMessage) -> bool:
        """Take a message about a member; False if it is about something else."""
        if not topic.startswith(self._folder):
            return False
        member = topic[len(self._folder) :]
        state = self._state(member, bytes(message.payload))
        if member == self._client_id:
            if state != "online":
                self._contradict()
            return True
        with self._lock:
            known = self._members.get(member)
            if state == "gone":  # it was taken over
                self._members.pop(member, None)
            elif state is not None and (known or len(self._members) < MEMBERS):
                online = state == "online"
                if known is None or known.online != online:
                    seen = online or (known is not None and known.seen)
                    self._members[member] = _Member(online, time.monotonic(), seen)
        return True

    def _state(self, member: str, payload: bytes) -> Literal["online", "offline", "gone"] | None:
        """The state of a member that a message reports; None if no logger sends such a message."""
        fault = ""
        if not LOGGER_ID.match(member):
            fault = "no logger has such an id"
        elif not payload:
            return "gone"
        elif len(payload) > PRESENCE_BYTES:
            fault = f"{len(payload)} bytes"
        else:
            try:
                return msgspec.json.decode(payload, type=Presence).state
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                fault = str(error)
        news = f"{harmless(member, 80)}: {harmless(fault)}"
        if news not in self._logged and len(self._logged) < LOGGED_LIMIT:
            self._logged.add(news)
            log.warning("group %s: a message that no logger sends is ignored: %s", self._name, news)
        return None

    def _contradict(self) -> None:
        """Somebody reports that this member is away, and it is not."""
        now_s = time.monotonic()
        session = self._session
        if session is None or self._stopping.is_set() or now_s - self._contradicted_s < CONTRADICT_S:
            return
        self._contradicted_s = now_s
        session.send(self._folder + self._client_id, _ONLINE, retain=True)

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            lost = self._lost()
            if lost is not None:
                try:
                    self._take_over(lost)
                except Exception:  # the thread's top: the next lost member must be noticed
                    log.exception("group %s: unexpected error", self._name)
                    self._postpone(lost)

    def _lost(self) -> str | None:
        """A member to take over now, if any: those first that were really there."""
        now_s = time.monotonic()
        with self._lock:
            there = sorted(
                {name for name, member in self._members.items() if member.online} | {self._client_id}
            )
            patience_s = GRACE_S * min(1 + there.index(self._client_id), LAST_IN_LINE)
            lost = [
                (not member.seen, member.since_s, name)
                for name, member in self._members.items()
                if not member.online and now_s - member.since_s >= patience_s
            ]
        return min(lost)[2] if lost else None

    def _take_over(self, name: str) -> None:
        log.warning("logger %s of group %s is gone; its share is stored here", name, self._name)
        feed = self._connect(name, self._unsubscribe)
        connection = feed.connection
        assert connection is not None
        deadline_s = time.monotonic() + TAKE_OVER_S
        connection.start()
        try:
            while not self._stopping.wait(TICK_S) and self._is_lost(name):
                now_s = time.monotonic()
                quiet = feed.received == feed.acknowledged and now_s - feed.last_s >= QUIET_S
                if connection.connected.is_set() and quiet:
                    # Its session stays until it expires: should the logger come back, it finds it empty.
                    self._forget(name)
                    return
                if quiet and now_s > deadline_s:
                    self._postpone(name)
                    return
        finally:
            connection.stop()

    def _is_lost(self, name: str) -> bool:
        with self._lock:
            member = self._members.get(name)
            return member is not None and not member.online

    def _postpone(self, name: str) -> None:
        with self._lock:
            if name in self._members:
                self._members[name].since_s = time.monotonic()

    def _forget(self, name: str) -> None:
        with self._lock:
            self._members.pop(name, None)
        if self._session is not None:
            self._session.send(self._folder + name, b"", retain=True)

    def _unsubscribe(self, client: BrokerClient) -> None:
        client.unsubscribe(self.topics)
