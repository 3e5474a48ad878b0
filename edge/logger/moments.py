"""Moments of records in this machine's local time, for people."""

import time
from datetime import datetime

from edge.host.text import harmless

LONGEST = 40


def local(moment: str, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """An RFC 3339 moment in local time; what is none, since a record may come from anyone, is shown as it is.

    Args:
        moment: such as "2026-11-25T18:47:22.240576Z".
        form: of `strftime`.
    """
    try:
        return datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return harmless(moment, LONGEST)


def zone() -> str:
    """The local time zone, such as "CET (UTC+01:00)"."""
    offset = time.strftime("%z")
    name = time.strftime("%Z")
    return f"{name} (UTC{offset[:3]}:{offset[3:]})" if name != "UTC" else "UTC"


def span(first: str, last: str) -> str:
    """Two moments in local time, short: the day stands once if it is one day, and the minute once if it is one."""
    day, start, end = local(first, "%Y-%m-%d"), local(first, "%H:%M"), local(last, "%H:%M")
    if day != local(last, "%Y-%m-%d"):
        return f"{day} {start} … {local(last, '%Y-%m-%d %H:%M')}"
    return f"{day} {start}" if start == end else f"{day} {start}…{end}"
