"""The page as a technician meets it: the demo's processes, and Debian's Chromium."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for package in ("starlette", "uvicorn", "jinja2", "sqlalchemy", "httpx"):
    pytest.importorskip(package)

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def leukoscope(*arguments: object, cwd: Path) -> "subprocess.Popen[str]":
    """A command of the command line; what it says is joined into its standard output."""
    return subprocess.Popen(
        [sys.executable, "-m", "edge", *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT | {"TMPDIR": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def address_in(process: "subprocess.Popen[str]") -> str:
    """The page's address as the process prints it; the rest of what it says is read and dropped."""
    said = []
    for line in process.stdout or ():
        said.append(line)
        if found := re.search(r"page: (http\S+)", line):
            threading.Thread(target=lambda: list(process.stdout or ()), daemon=True).start()
            return found[1]
    raise AssertionError("".join(said))


def stop(*processes: "subprocess.Popen[str]") -> None:
    """SIGTERM, and after a while SIGKILL."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page of a running demo."""
    folder = tmp_path_factory.mktemp("demo")
    process = leukoscope("demo", cwd=folder)
    try:
        yield address_in(process)
    finally:
        stop(process)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt install chromium)")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        yield running
        running.close()
