"""The page of the demo: a child process on a free port of this machine."""

import importlib.util
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.host import children

log = logging.getLogger(__name__)

HOST, FIRST_PORT, PORTS = "127.0.0.1", 8080, 20
START_TIMEOUT_S = 20.0
_NEEDED = ("jinja2", "starlette", "uvicorn")


@contextmanager
def page_at(config: Path, stop: threading.Event) -> Iterator[str]:
    """Serve the page while the block runs; gives its address, or "" if it cannot be served, which is logged.

    Args:
        config: the settings file of the box.
        stop: ends the wait for the page's start.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        log.warning("no page: %s is missing: pip install 'leukoscope[web]'", ", ".join(missing))
        yield ""
        return
    port = free_port()
    listen = f"{HOST}:{port}"
    run = children.module_command(
        "edge", "web", "--config", str(config), "--listen", listen, ends_with_us=True
    )
    page_log = config.with_name("page.log")
    with page_log.open("wb") as stderr, children.running(run, stderr.fileno()) as page:
        if _answers(port, page, stop):
            yield f"http://{listen}"
        else:
            log.warning(
                "no page: %s", page_log.read_text(errors="replace").strip()[-500:] or "it does not start"
            )
            yield ""


def free_port() -> int:
    """The first free one from FIRST_PORT on, or any."""
    for port in (*range(FIRST_PORT, FIRST_PORT + PORTS), 0):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
            found: int = tried.getsockname()[1]
            return found
    raise OSError("no free port")


def _answers(port: int, page: "subprocess.Popen[bytes]", stop: threading.Event) -> bool:
    """Wait until the page takes connections; False if it has ended, or does not in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while page.poll() is None and not stop.is_set() and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), 0.5).close()
            return True
        except OSError:
            stop.wait(0.05)
    return False
