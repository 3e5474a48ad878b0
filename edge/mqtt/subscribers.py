"""Whether anybody takes the records: a broker may keep them for nobody."""

import logging
import time

log = logging.getLogger(__name__)

# How long records are sent again for a logger that was there and is not.
HOLD_S = 120.0


class Subscribers:
    """What the acknowledgements of MQTT 5 tell about the loggers.

    Args:
        topic: of the records, for messages.

    Attributes:
        heard: False while the broker reports that nobody has subscribed.
    """

    def __init__(self, topic: str):
        self._topic = topic
        self.heard = True
        self._had_logger, self._unheard_since = False, 0.0

    def take(self, nobody: bool) -> bool:
        """Note one acknowledgement; True if the record is to be sent again.

        It is for a while if a logger was there before: a broker that came back without its sessions is found by
        the box before the logger has found it. Else it counts as delivered, and that is logged.

        Args:
            nobody: whether the broker reported that nobody has subscribed.
        """
        if not nobody:
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
