"""The demo: a broker, the daemon and a subscriber in one process tree; results shown as they arrive."""

import argparse
import collections
import ctypes
import json
import logging
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.address import joined
from edge.imaging.files import find_images
from edge.logger.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.model.classifier import default_model
from edge.model.file import read_model
from edge.mqtt.local_broker import broker
from edge.notice import NOTICE
from edge.outbox.queue import Outbox
from edge.records import Record

log = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
# Where nothing bounds the demo, results that do not arrive in this time after the daemon's end are missing.
DELIVERY_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1


def command(options: argparse.Namespace) -> int:
    """`leukoscope demo`."""
    model = options.model or default_model()
    read_model(model)  # refused before anything is started
    if options.images:
        if not options.images.is_dir():
            raise InputError(f"--images {options.images}: no such folder")
        find_images([options.images])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leukoscope-demo-")))
        host, port = stack.enter_context(broker(options.broker, folder))
        device = f"demo-{uuid.uuid4().hex[:8]}"
        show = Show(as_json=options.json)
        subscriber = Subscriber(
            f"mqtt://{joined(host, port)}",
            open_sink(options.to),
            topic=f"leukoscope/{device}/cells",
            client_id=f"leukoscope-log-{device}",
            on_stored=show.stored,
        )
        subscriber.start()
        stack.callback(subscriber.stop)
        # Before the daemon: the broker keeps nothing for a subscriber that it does not know yet.
        if not _wait(subscriber.subscribed, stop, START_TIMEOUT_S):
            if stop.is_set():
                return 0
            raise LeukoscopeError(f"{host}:{port} does not answer as an MQTT broker: {subscriber.state()}")
        show.say(
            f"{NOTICE.upper()}\nbroker {host}:{port}, topic leukoscope/{device}/cells, results to {options.to}"
        )
        config = _settings(folder, device, host, port, model, options.images)
        daemon = stack.enter_context(_process([sys.executable, "-m", "edge", "run", "--config", str(config)]))
        accepted = _follow(daemon, stop, options.seconds, folder / "outbox.db", show)
        status = daemon.returncode
    return show.end(accepted, options.to) or (1 if status else 0)


class Show:
    """Prints results as they are stored, and what they add up to."""

    def __init__(self, as_json: bool):
        self._as_json = as_json
        self._totals: collections.Counter[str] = collections.Counter()
        self.rows = 0

    def say(self, text: str) -> None:
        """A line for people."""
        print(text, file=sys.stderr if self._as_json else sys.stdout, flush=True)

    def stored(self, record: Record, new: bool) -> None:
        """One result was stored."""
        if not new:
            return
        self._totals[record.verdict] += 1
        if self._as_json:
            print(msgspec.json.encode(record).decode(), flush=True)
        else:
            totals = "  ".join(f"{name} {self._totals[name]}" for name in ("ALL", "HEM", "refer"))
            print(
                f"{record.verdict:5}  ALL {record.probabilities['ALL']:.3f}  "
                f"{sum(record.timings_ms.values()):5.1f} ms  {record.source}  [{totals}]",
                flush=True,
            )
        self.rows += 1

    def end(self, accepted: int, target: str) -> int:
        """The summary; 1 where something that was accepted was not stored."""
        totals = {name: self._totals[name] for name in ("ALL", "HEM", "refer")}
        if self._as_json:
            print(
                json.dumps({"accepted": accepted, "stored": self.rows, "verdicts": totals, "to": target}),
                flush=True,
            )
        self.say(
            f"{accepted} results accepted, {self.rows} stored once each in {target}: {totals}\n{NOTICE.upper()}"
        )
        return 0 if self.rows == accepted else 1


def _follow(
    daemon: "subprocess.Popen[bytes]", stop: threading.Event, seconds: float | None, outbox: Path, show: Show
) -> int:
    """Wait for the daemon's own end, the time or a signal, then for the last results; how many it accepted."""
    end = time.monotonic() + (seconds or float("inf"))
    while daemon.poll() is None and not stop.is_set() and time.monotonic() < end:
        stop.wait(0.05)
    if daemon.poll() is None:
        daemon.terminate()
        try:
            daemon.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.error("the daemon did not stop within %g s and was killed", STOP_TIMEOUT_S)
            daemon.kill()
            daemon.wait()
    if not outbox.exists():
        raise LeukoscopeError("the daemon did not start; what it said stands above")
    records = Outbox(outbox)
    accepted = records.last_sequence()
    records.close()
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while show.rows < accepted and time.monotonic() < deadline:
        time.sleep(0.02)
    return accepted


def _wait(event: threading.Event, stop: threading.Event, timeout_s: float) -> bool:
    """Wait for an event, for a stop, or for the time; True where the event came."""
    deadline = time.monotonic() + timeout_s
    while not event.wait(0.05) and not stop.is_set() and time.monotonic() < deadline:
        pass
    return event.is_set()


def _settings(folder: Path, device: str, host: str, port: int, model: Path, images: Path | None) -> Path:
    """The daemon's settings file."""
    source = f"files:{images.resolve()}" if images else "simulator"
    text = json.dumps  # a JSON string is a TOML string
    file = folder / "leukoscope.toml"
    file.write_text(
        f"[device]\nid = {text(device)}\n[model]\nfile = {text(str(model.resolve()))}\n"
        f"[camera]\nsource = {text(source)}\n[mqtt]\nhost = {text(host)}\nport = {port}\n"
        f"[outbox]\nfile = {text(str(folder / 'outbox.db'))}\n",
        encoding="utf-8",
    )
    return file


@contextmanager
def _process(arguments: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that ends with this block, or with this process however it dies."""
    libc = ctypes.CDLL(None)
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the demo alone, which stops the children in order
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
