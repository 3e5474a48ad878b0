"""The demo: a broker, the daemon, a subscriber and the page in one process tree; results shown as they arrive."""

import argparse
import contextlib
import json
import logging
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

from edge.demo.page import page_at
from edge.demo.show import SAMPLES, JsonShow, Show
from edge.errors import InputError, LeukoscopeError
from edge.host import children
from edge.host.address import joined
from edge.host.secrets import shown_address
from edge.host.terminal import console
from edge.imaging.files import find_images
from edge.logger.stores.sinks import open_sink
from edge.logger.subscriber import Subscriber
from edge.model.file import read_model
from edge.model.installed import find_model
from edge.mqtt.brokers.local import broker
from edge.outbox.queue import Outbox

log = logging.getLogger(__name__)

SAMPLE_INTERVAL_S = 0.2
"""Between two samples, so that a person can follow; the images of a folder that was named come as fast as they can."""

TARGET = 20
"""White cells to count: some seconds of the demo."""

START_TIMEOUT_S = 20.0
# If nothing bounds the demo, results that do not arrive in this time after the daemon's end are missing.
DELIVERY_TIMEOUT_S = 10.0
LOG_LINES = 20
"""Of the daemon, that are shown after its end if it wrote to the panel's own terminal."""


def command(options: argparse.Namespace) -> int:
    """`leukoscope demo`."""
    model = read_model(find_model(options.model))  # refused before anything is started
    if options.images:
        if not options.images.is_dir():
            raise InputError(f"--images {options.images}: no such folder")
        find_images([options.images])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        starting = stack.enter_context(ExitStack())
        starting.enter_context(console.waiting("starting broker, page and daemon"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leukoscope-demo-")))
        host, port = stack.enter_context(broker(options.broker, folder))
        device = f"demo-{uuid.uuid4().hex[:8]}"
        target = shown_address(options.to)
        config = _settings(folder, device, host, port, model.path, options)
        page = "" if options.no_web else stack.enter_context(page_at(config, stop))
        place = (
            f"page: {page}\n" if page else ""
        ) + f"broker {host}:{port}, topic leukoscope/{device}/cells\nresults to {target}"
        show = _show(list(model.manifest.classes()), place, options.json, options.quiet)
        starting.close()
        stack.enter_context(show)
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
        accepted, status, notes = _run(config, folder, show, stop, options.seconds)
    for line in notes:
        console.note(line)
    return show.end(accepted, target) or (1 if status else 0)


def _show(classes: list[str], place: str, as_json: bool, quiet: bool) -> Show:
    """The kind of show that fits the options and the terminal."""
    if as_json:
        return JsonShow(classes, place, quiet)
    if not quiet and console.is_terminal(sys.stdout):
        with contextlib.suppress(ImportError):
            from edge.demo.panel import Panel

            return Panel(classes, place)
    return Show(classes, place, quiet)


def _run(
    config: Path, folder: Path, show: Show, stop: threading.Event, seconds: float | None
) -> tuple[int, int, list[str]]:
    """Run the daemon until it ends or is stopped.

    Returns:
        How many results it accepted, its exit status, and what it logged beside information, if the show draws
        over its terminal.

    Raises:
        LeukoscopeError: it did not start.
    """
    quiet = ["--quiet"] if console.is_quiet() else []
    run = children.module_command("edge", "run", "--config", str(config), *quiet, ends_with_us=True)
    daemon_log = folder / "daemon.log"
    with ExitStack() as stack:
        stderr = stack.enter_context(daemon_log.open("wb")).fileno() if show.draws else None
        with children.running(run, stderr) as daemon:
            accepted = _follow(daemon, stop, seconds, folder / "outbox.db", show)
    lines = daemon_log.read_text(errors="replace").splitlines() if show.draws else []
    notes = [line for line in lines if not line.startswith("INFO ")][-LOG_LINES:]
    if accepted is None and stop.is_set():
        return 0, 0, notes
    if accepted is None:
        reason = "\n".join(notes) if show.draws else "the reason is above"
        reason = reason or f"it took longer than {START_TIMEOUT_S:.0f} s; is the machine busy?"
        raise LeukoscopeError(f"the daemon did not start: {reason}")
    return accepted, daemon.returncode, notes


def _follow(
    daemon: "subprocess.Popen[bytes]", stop: threading.Event, seconds: float | None, outbox: Path, show: Show
) -> int | None:
    """Wait for the daemon's own end, the time or a signal, then for the last results.

    Returns:
        How many results it accepted, or None if it did not start.
    """
    # The time that was asked for begins when the daemon is up: a slow or busy machine takes seconds to start it.
    started = time.monotonic() + START_TIMEOUT_S
    while daemon.poll() is None and not stop.is_set() and not outbox.exists() and time.monotonic() < started:
        stop.wait(0.05)
    end = time.monotonic() + (seconds or float("inf"))
    while daemon.poll() is None and not stop.is_set() and time.monotonic() < end:
        stop.wait(0.05)
    if not children.stop(daemon):
        log.error("the daemon did not stop within %g s and was killed", children.STOP_TIMEOUT_S)
    if not outbox.exists():
        return None
    records = Outbox(outbox)
    accepted = records.last_sequence()
    records.close()
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while show.rows < accepted and time.monotonic() < deadline:
        time.sleep(0.02)
    return accepted


def _wait(event: threading.Event, stop: threading.Event, timeout_s: float) -> bool:
    """Wait for an event, for a stop, or for the time; True if the event came."""
    deadline = time.monotonic() + timeout_s
    while not event.wait(0.05) and not stop.is_set() and time.monotonic() < deadline:
        pass
    return event.is_set()


def _fields(options: argparse.Namespace) -> str:
    """Where whole fields come from: DIR, the samples of a source checkout once each, or the simulator."""
    folder = options.images or SAMPLES.parent / "fields"
    simulated = options.simulate or not folder.is_dir()
    return "simulator" if simulated else f"files:{folder.resolve()}"


def _whole_address(target: str) -> str:
    """The address of the results with the whole path, for a child that runs elsewhere."""
    scheme, mark, path = target.partition(":///")
    return f"{scheme}:///{Path(path).resolve()}" if mark and path and scheme == "sqlite" else target


def _settings(
    folder: Path, device: str, host: str, port: int, model: Path, options: argparse.Namespace
) -> Path:
    """The daemon's settings file."""
    text = json.dumps  # a JSON string is a TOML string
    camera = f"source = {text('simulator')}\n"
    if options.field:
        camera = f'view = "field"\nsource = {text(_fields(options))}\n'
    elif options.images:
        camera = f"source = {text(f'files:{options.images.resolve()}')}\n"
    elif SAMPLES.is_dir() and not options.simulate:
        camera = (
            f"source = {text(f'files:{SAMPLES}')}\nloop = true\n"
            f'trigger = "interval"\ninterval_s = {SAMPLE_INTERVAL_S}\n'
        )
    file = folder / "leukoscope.toml"
    file.write_text(
        f"[device]\nid = {text(device)}\n[model]\nfile = {text(str(model.resolve()))}\n"
        f"directory = {text(str(folder / 'models'))}\n"
        f"[camera]\n{camera}[simulator]\nkind = {text('field' if options.field else 'cell')}\n"
        f"seed = {options.seed}\n[mqtt]\nhost = {text(host)}\nport = {port}\n"
        f"[outbox]\nfile = {text(str(folder / 'outbox.db'))}\n"
        f"[archive]\ndirectory = {text(str(folder / 'archive'))}\nkeep = {text('none' if options.no_web else 'all')}\n"
        f"[web]\ndatabase = {text(_whole_address(options.to))}\n[specimen]\ntarget = {TARGET}\n"
        "[health]\ninterval_s = 2\n",
        encoding="utf-8",
    )
    return file
