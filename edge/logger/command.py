"""`leukoscope log`: store until stopped; a live table on a terminal, else one line per result."""

import argparse
import contextlib
import logging
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from edge.errors import LeukoscopeError
from edge.host.terminal import console
from edge.host.text import harmless, safe_json, shortened
from edge.logger.moments import LONGEST
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.notice import NOTICE
from edge.records import Record

log = logging.getLogger(__name__)

FILES = ("password_file", "ca_file", "cert_file", "key_file")
POLL_S = 0.5
_LEAST_NAME = 24
"""Characters of the target's name that are shown however narrow the terminal is."""


class View(Protocol):
    """Shows what is stored."""

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored; `new` if it was not there yet."""


class Lines:
    """One line per result, for a pipe or a journal."""

    def stored(self, record: Record, new: bool) -> None:
        """See View."""
        note = "" if new else "  (duplicate)"
        captured_at, device = harmless(record.captured_at, LONGEST), harmless(record.device)
        print(f"{captured_at}  {device} {record.sequence}  {harmless(record.verdict)}{note}", flush=True)


class JsonLines:
    """Every new record as one JSON line, for another program."""

    def stored(self, record: Record, new: bool) -> None:
        """See View; what comes again is no new record."""
        if new:
            print(safe_json(msgspec.json.encode(record)), flush=True)


class Nothing:
    """Shows nothing, for --quiet."""

    def stored(self, record: Record, new: bool) -> None:
        """See View."""


class Count:
    """Counts what a view shows."""

    def __init__(self, view: View):
        self._view = view
        self.stored_once = self.duplicates = 0

    def stored(self, record: Record, new: bool) -> None:
        """See View."""
        self.stored_once += new
        self.duplicates += not new
        self._view.stored(record, new)


def command(options: argparse.Namespace) -> int:
    """The command; 0 when it was stopped.

    Raises:
        LeukoscopeError: one of its threads has ended by an unexpected error.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    sink = open_sink(options.to)
    try:
        files = {name: str(getattr(options, name)) for name in FILES if getattr(options, name)}
        subscriber = Subscriber(
            options.broker,
            sink,
            topic=options.topic,
            group=options.group,
            files=files,
        )
    except LeukoscopeError:
        sink.close()
        raise
    _tell_target(sink.name)
    with _view(sink.name, lambda: "stopped" if stop.is_set() else subscriber.state(), options) as view:
        count = Count(view)
        subscriber.on_stored = count.stored
        subscriber.start()
        while not stop.wait(POLL_S) and subscriber.alive:
            pass
        alive = subscriber.alive
        subscriber.stop()
    log.info("disconnected; %d stored, %d duplicates", count.stored_once, count.duplicates)
    if not alive:
        raise LeukoscopeError("a thread of the logger has ended, see the log above; start the logger again")
    return 0


def _tell_target(name: str) -> None:
    """Where results go, and what they are, in a line each: a terminal's width at most."""
    told = "storing results to "
    if console.is_terminal(sys.stderr):
        room = shutil.get_terminal_size().columns - len(f"INFO {told}")
        name = shortened(name, max(_LEAST_NAME, room))
    log.info("%s%s", told, name)
    log.info("%s", NOTICE)


@contextlib.contextmanager
def _view(target: str, state: Callable[[], str], options: argparse.Namespace) -> Iterator[View]:
    if options.json:
        yield JsonLines()
        return
    if options.quiet:
        yield Nothing()
        return
    if sys.stdout.isatty():
        try:
            from edge.logger.live import LiveTable
        except ImportError:
            log.info("one line per result; for a live table: pip install 'leukoscope[log]'")
        else:
            with LiveTable(target, state) as table:
                yield table
            return
    yield Lines()
