"""`leukoscope run` and `leukoscope check`."""

import argparse
import gc
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from edge import settings as settings_file
from edge.doctor.findings import Finding
from edge.doctor.named_files import look
from edge.errors import InputError
from edge.host.terminal import console

if TYPE_CHECKING:
    from edge.daemon.daemon import Daemon


def run(options: argparse.Namespace) -> int:
    """The daemon in the foreground; 1 if some images of a folder could not be read.

    Raises:
        InputError: the settings are wrong, or a file that they name is missing or wrong: nothing is started.
        LeukoscopeError: as the daemon's.
    """
    # What is loaded until the daemon runs stays: to look for garbage in it only takes time.
    gc.disable()
    try:
        daemon = _build(options)
        gc.freeze()  # a full collection need not go through it between two frames
    finally:
        gc.enable()
    unreadable = daemon.run()
    return 1 if unreadable else 0


def _build(options: argparse.Namespace) -> "Daemon":
    """The daemon, which a signal ends in order from now on.

    Raises:
        InputError, LeukoscopeError: as `run`.
    """
    config = settings_file.find(options.config)
    settings = settings_file.load(config)
    faults = [found for found in look(settings) if found.state == "failed"]
    if faults:
        raise InputError("\n".join(f"settings {config}: {_with_remedy(found)}" for found in faults))
    from edge.daemon.daemon import build
    from edge.imaging.cores import use_cores

    use_cores(settings.model.threads)
    stops: list[Callable[[], None]] = []  # a signal while the daemon is put together, too, ends it in order
    asked = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        for end in stops:
            end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    daemon = build(settings, options.metrics, options.again)
    stops.append(daemon.stop)
    if asked.is_set():
        daemon.stop()
    return daemon


def _with_remedy(found: Finding) -> str:
    return f"{found.message}; {found.command}" if found.command else found.message


def check(options: argparse.Namespace) -> int:
    """Is the settings file valid, and is there what it names? 2 if not.

    Raises:
        InputError: keys or values are wrong; each fault is a line.
    """
    config = settings_file.find(options.config)
    faults: list[str] = []
    warnings: list[str] = []
    try:
        settings, lines = settings_file.load_with_lines(config)
    except InputError as error:
        faults = str(error).splitlines()
    else:
        for found in look(settings):
            text = f"settings {config}{lines.place(*found.key)}: {_with_remedy(found)}"
            (faults if found.state == "failed" else warnings).append(text)
    if options.json:
        console.document({"ok": not faults, "file": str(config), "faults": faults, "warnings": warnings})
        return 2 if faults else 0
    for text in warnings:
        console.warn(text)
    if faults:
        raise InputError("\n".join(faults))
    console.summary(f"{config}: valid")
    return 0
