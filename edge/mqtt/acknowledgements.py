"""What the broker's acknowledgements show: what is under way, and whether anybody takes the records."""

import logging
import time
from typing import NamedTuple

log = logging.getLogger(__name__)

# A message that is not acknowledged for so long ends the connection: a broker does it in milliseconds.
TIMEOUT_S = 20.0
# What a broker of MQTT 5 may answer if nobody has subscribed.
NO_SUBSCRIBERS = 16
# How long records are sent again for a logger that was there and is not.
HOLD_S = 120.0


class Subscribers:
    """Whether a logger takes the records; a broker of MQTT 5 reports it if nobody has subscribed.

    Args:
        topic: of the records, for messages.

    Attributes:
        heard: False while nobody has subscribed.
    """

    def __init__(self, topic: str):
        self._topic = topic
        self.heard = True
        self._had_logger, self._unheard_since = False, 0.0

    def take(self, reason: int) -> bool:
        """Note one acknowledgement; True if the record is to be sent again.

        It is for a while if a logger was there before: a broker that came back without its sessions is found by
        the box before the logger has found it. Else it counts as delivered, and that is logged.

        Args:
            reason: the code of the broker's acknowledgement.
        """
        if reason != NO_SUBSCRIBERS:
            if not self.heard:
                log.info("a logger takes the records")
            self.heard, self._had_logger, self._unheard_since = True, True, 0.0
            return False
        self._unheard_since = self._unheard_since or time.monotonic()
        if self._had_logger and time.monotonic() - self._unheard_since < HOLD_S:
            return True
        self._had_logger = False
        if self.heard:
            log.warning(
                "no logger has subscribed to %s at this broker, which keeps the records for nobody; "
                "start leukoscope log there once",
                self._topic,
            )
        self.heard = False
        return False


class Sent(NamedTuple):
    """A message that was sent and is not acknowledged.

    Attributes:
        sequence: of the record; None if it is no record.
        at_s: when it was sent, on the monotonic clock.
    """

    sequence: int | None
    at_s: float


class UnderWay:
    """The messages of one connection that were sent and are not acknowledged, by message id.

    Attributes:
        silence: that the broker does not acknowledge, as health shows it; "" if it does.
    """

    def __init__(self) -> None:
        self._messages: dict[int, Sent] = {}
        self._awaited: set[int | None] = set()  # what was under way when the broker was found silent
        self.silence = ""

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message_id: int, sequence: int | None) -> None:
        """A message was sent."""
        self._messages[message_id] = Sent(sequence, time.monotonic())

    def acknowledged(self, message_id: int) -> Sent | None:
        """The message that was acknowledged, or None if it is none of these."""
        message = self._messages.pop(message_id, None)
        if message is not None:
            self.waits_no_more(message.sequence)
        return message

    def waits_no_more(self, sequence: int | None) -> None:
        """This record is not sent any more."""
        self._awaited.discard(sequence)
        if self.silence and not self._awaited:
            log.info("the broker acknowledges again")
            self.silence = ""

    def sequences(self) -> list[int]:
        """The records among the messages."""
        return [message.sequence for message in self._messages.values() if message.sequence is not None]

    def forget(self) -> None:
        """Another connection begins."""
        self._messages.clear()

    def oldest_s(self) -> float:
        """For how long the oldest message waits for its acknowledgement, seconds; 0 if none waits."""
        # Copied at once, since other threads ask too.
        sent_at = [message.at_s for message in tuple(self._messages.values())]
        return time.monotonic() - min(sent_at) if sent_at else 0.0

    def look_for_silence(self) -> bool:
        """Whether the broker has not acknowledged a message for `TIMEOUT_S`; logged once, until all those messages
        were acknowledged."""
        waits_s = self.oldest_s()
        if waits_s <= TIMEOUT_S:
            return False
        fault = f"the broker does not acknowledge: {len(self)} messages wait for {waits_s:.0f} s"
        if not self.silence:
            log.error("%s; connecting anew, they stay in the outbox", fault)
        self.silence = fault
        self._awaited = {message.sequence for message in self._messages.values()}
        return True
