"""How long to wait before the next attempt."""

import random

# A delay is shortened at random, to this share at least, so that many boxes do not reconnect at the same moment.
LEAST_SHARE = 0.7


class Backoff:
    """Delays that double from the first to the last.

    Args:
        first_s: the first delay, seconds.
        last_s: the longest, seconds.
    """

    def __init__(self, first_s: float, last_s: float):
        self._first_s, self._last_s = first_s, last_s
        self._delay_s = first_s

    def next_s(self, least_s: float = 0.0) -> float:
        """The next delay in seconds, shortened at random; the one after it is twice as long.

        Args:
            least_s: lower limit of this delay and those after it, before the random shortening.
        """
        delay_s = max(self._delay_s, least_s)
        self._delay_s = min(delay_s * 2, self._last_s)
        return delay_s * random.uniform(LEAST_SHARE, 1.0)

    def reset(self) -> None:
        """Begin with the first delay again, after an attempt that succeeded."""
        self._delay_s = self._first_s
