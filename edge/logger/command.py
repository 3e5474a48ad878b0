"""`leukoscope log`: store until stopped; a live table on a terminal, else one line an event."""

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urlsplit

from edge.errors import LeukoscopeError
from edge.logger.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.notice import NOTICE
from edge.records import Record

log = logging.getLogger(__name__)

FILES = ("password_file", "ca_file", "cert_file", "key_file")


class View(Protocol):
    """Shows what is stored."""

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored; `new` where it was not there yet."""


class Lines:
    """One line a result, for a pipe or a journal."""

    def stored(self, record: Record, new: bool) -> None:
        """See View."""
        note = "" if new else "  (again)"
        print(f"{record.captured_at}  {record.device} {record.sequence}  {record.verdict}{note}", flush=True)


def command(options: argparse.Namespace) -> int:
    """The command; 0 when it was stopped."""
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
    where = urlsplit(options.broker).hostname  # the address may hold a password
    log.info("storing results of %s to %s; %s", where, sink.name, NOTICE)
    with _view(sink.name, subscriber) as view:
        subscriber.on_stored = view.stored
        subscriber.start()
        while not stop.wait(0.5):
            pass
        subscriber.stop()
    return 0


@contextlib.contextmanager
def _view(target: str, subscriber: Subscriber) -> Iterator[View]:
    if sys.stdout.isatty():
        try:
            from edge.logger.live import LiveTable
        except ImportError:
            log.info("a line an event; for a live table: pip install 'leukoscope[log]'")
        else:
            with LiveTable(target, subscriber.state) as table:
                yield table
            return
    yield Lines()
