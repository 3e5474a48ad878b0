"""Whether the wall clock can be believed: a box has no battery for it, and wakes up in 1970."""

import ctypes

# From <sys/timex.h>; on 64-bit Linux struct timex is longs, the status the sixth.
_STA_UNSYNC, _TIME_ERROR = 0x40, 5
_STATUS_INDEX, _LONGS = 5, 40


def synchronised() -> bool:
    """Whether the kernel's clock follows a time source (NTP, PTP, GPS): what adjtimex(2) says of it."""
    timex = (ctypes.c_long * _LONGS)()  # modes 0: only read
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return False
    status = timex[_STATUS_INDEX] & 0xFFFFFFFF
    return state not in (-1, _TIME_ERROR) and not status & _STA_UNSYNC
