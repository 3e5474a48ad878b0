"""The socket that systemd listens on for READY=1 and WATCHDOG=1, and a daemon that is told of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WATCHDOG_S = 4.0


class NotifySocket:
    """A real datagram socket, as PID 1 has it."""

    def __init__(self, address: str):
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def messages(self, seconds: float) -> list[str]:
        """All lines that arrive within so long."""
        lines: list[str] = []
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                lines += self._socket.recv(4096).decode().splitlines()
            except TimeoutError:
                break
        return lines

    def wait_for(self, line: str, timeout_s: float = 60.0) -> None:
        """Wait until a line that begins so has come."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                if any(got.startswith(line) for got in self._socket.recv(4096).decode().splitlines()):
                    return
            except TimeoutError:
                break
        raise AssertionError(f"{line} did not come within {timeout_s} s")

    def close(self) -> None:
        self._socket.close()


def write_settings(folder: Path, port: int, extra: str = "", camera: str = "") -> Path:
    """Settings of a box on the simulator, 10 frames a second, its outbox in `folder`."""
    file = folder / "leukoscope.toml"
    file.write_text(
        f'[device]\nid = "box"\n[camera]\nsource = "simulator"\nfps = 10.0\n{camera}\n'
        f'[mqtt]\nport = {port}\n[outbox]\nfile = "{folder}/state/outbox.db"\n[health]\ninterval_s = 1.0\n{extra}'
    )
    return file


@contextmanager
def daemon(
    config: Path, *options: str, notify: NotifySocket | None = None, prelude: str = ""
) -> Iterator["subprocess.Popen[str]"]:
    """`leukoscope run`, after some Python that breaks a part of it; ended at the block's end."""
    program = f"import sys, time, threading\n{prelude}\nfrom edge.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if notify is not None:
        environment |= {"NOTIFY_SOCKET": notify.address, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", "--config", str(config), *options],
        cwd=config.parent,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
