"""The thread that publishes health, keeps its history, and notes why the watchdog will soon end the service."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edge.errors import LeukoscopeError
from edge.host import threads

log = logging.getLogger(__name__)

# A line a minute and two files of half a megabyte: about a day, and next to no wear of an SD card.
HISTORY_INTERVAL_S = 60.0
HISTORY_LIMIT_BYTES = 512 * 1024
HISTORY_FILE, OLDER_HISTORY_FILE = "health.jsonl", "health.1.jsonl"
# How often the watchdog is checked: well within any timeout worth setting.
STEP_S = 2.0
# The thread turns at least every STEP_S; after so long without a turn it hangs, in a disk that does not answer, say.
HANG_S = 30.0


class Reporter:
    """Reports at an interval until stopped.

    Args:
        report: makes the health message.
        publish: sends its JSON.
        late: why systemd is not being fed, or "".
        note: keeps that for after the restart.
        interval_s: between two messages.
        folder: where the history is kept.
    """

    def __init__(
        self,
        report: Callable[[], dict[str, Any]],
        publish: Callable[[bytes], None],
        late: Callable[[], str],
        note: Callable[[str], None],
        interval_s: float,
        folder: Path,
    ):
        self._report, self._publish, self._late, self._note = report, publish, late, note
        self._interval_s = interval_s
        self._history = History(folder)
        self._send = threads.guarded("health report", self._send_report)
        self._was_late, self._told = False, ""
        self._stop = threading.Event()
        self._turned_at = time.monotonic()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to report, in a thread of its own."""
        self._turned_at = time.monotonic()
        self._thread = threads.keep("health", self._run, self._stop)

    def hangs(self) -> str:
        """What is wrong with the thread that reports, or "". If the thread has ended, it is started anew."""
        if self._stop.is_set() or self._thread is None:
            return ""
        if not self._thread.is_alive():
            log.error("the thread that reports health has ended; it is started anew")
            self.start()
        idle_s = time.monotonic() - self._turned_at
        return f"its thread hangs for {idle_s:.0f} s" if idle_s > HANG_S else ""

    def stop(self) -> None:
        """Send a last report and end."""
        self._stop.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(STEP_S)
        self._send(last=True)

    def _run(self) -> None:
        due = 0.0
        while not self._stop.wait(min(STEP_S, self._interval_s)):
            self._turned_at = time.monotonic()
            self._look_at_watchdog()
            if time.monotonic() >= due:
                due = time.monotonic() + self._interval_s
                self._send()

    def _look_at_watchdog(self) -> None:
        late = self._late()
        if bool(late) == self._was_late:
            return
        self._was_late = bool(late)
        self._note(late)
        if late:
            log.error("%s; systemd will restart the service", late, extra={"event": "watchdog"})

    def _send_report(self, last: bool = False) -> None:
        try:
            report = self._report()
            self._publish(msgspec.json.encode(report))
            self._history.add(report, at_once=last)
        except (OSError, LeukoscopeError) as error:
            if str(error) != self._told:
                log.warning("health not published: %s", error)
            self._told = str(error)
        else:
            self._told = ""


class History:
    """Health messages of the last day, one JSON line per minute, in two files that take turns.

    Args:
        folder: of these files.
    """

    def __init__(self, folder: Path):
        self._file, self._older = folder / HISTORY_FILE, folder / OLDER_HISTORY_FILE
        self._due = 0.0

    def add(self, report: dict[str, Any], at_once: bool = False) -> None:
        """Add a message, if a minute has passed or `at_once`.

        Raises:
            OSError: it cannot be written.
        """
        if time.monotonic() < self._due and not at_once:
            return
        self._due = time.monotonic() + HISTORY_INTERVAL_S
        if self._file.exists() and self._file.stat().st_size > HISTORY_LIMIT_BYTES:
            self._file.replace(self._older)
        with self._file.open("ab") as out:
            out.write(msgspec.json.encode(report) + b"\n")
