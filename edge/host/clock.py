"""Whether the wall clock is synchronised: a box has no battery for it and starts in 1970."""

import ctypes
from pathlib import Path

# From <sys/timex.h>; on 64-bit Linux struct timex is longs, the status the sixth.
_STA_UNSYNC, _TIME_ERROR = 0x40, 5
_STATUS_INDEX, _LONGS = 5, 40
# systemd-timesyncd writes this file; for a service whose sandbox forbids adjtimex(2).
_TIMESYNC = Path("/run/systemd/timesync")
_adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)


def synchronised() -> bool | None:
    """Whether the kernel's clock follows a time source (NTP, PTP, GPS), by adjtimex(2); None if that is not known."""
    if _adjtimex is None:
        return None
    timex = (ctypes.c_long * _LONGS)()  # modes 0: only read
    state = _adjtimex(timex)
    if state == -1:
        return (_TIMESYNC / "synchronized").exists() if _TIMESYNC.is_dir() else None
    return state != _TIME_ERROR and not timex[_STATUS_INDEX] & _STA_UNSYNC
