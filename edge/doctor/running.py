"""Whether a daemon with these settings runs, and what it says of itself."""

import fcntl
import json
import time
from pathlib import Path
from typing import Any

from edge.health.reporter import HISTORY_FILE
from edge.settings import Settings

# The service writes its history once a minute.
FRESH_S = 150.0


def in_use(settings: Settings) -> bool:
    """Whether a daemon with these settings runs: it holds the lock of the outbox."""
    try:
        with open(f"{Path(settings.outbox.file).resolve()}.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def last_report(settings: Settings) -> dict[str, Any] | None:
    """The newest health message in the history, or None if there is none that is fresh."""
    file = Path(settings.outbox.file).resolve().parent / HISTORY_FILE
    try:
        if time.time() - file.stat().st_mtime > FRESH_S:
            return None
        report: dict[str, Any] = json.loads(file.read_bytes().splitlines()[-1])
    except (OSError, ValueError, IndexError):
        return None
    return report if {"camera", "rate_per_s"} <= report.keys() else None
