"""A broker on this machine for the demo and the benchmark: Mosquitto if it is installed, else an embedded one."""

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import LeukoscopeError
from edge.host import children
from edge.host.address import host_and_port

START_TIMEOUT_S = 20.0
CONNECT_TIMEOUT_S = 2.0
POLL_S = 0.05
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@contextmanager
def broker(address: str | None, folder: Path) -> Iterator[tuple[str, int]]:
    """The broker that was named, or one of our own that ends with the block.

    Args:
        address: HOST:PORT; None for a broker of our own on a free loopback port. If nothing listens on a loopback
            address, a broker of our own is started there.
        folder: for the broker's files.

    Returns:
        Host and port.

    Raises:
        InputError: the address is not HOST:PORT.
        LeukoscopeError: nothing listens at another machine's address, or no broker can be started here.
    """
    host, port = host_and_port(address) if address else ("127.0.0.1", free_port())
    if address and listens(host, port):
        yield host, port
        return
    if host not in LOOPBACK:
        raise LeukoscopeError(f"broker {host}:{port}: nothing listens there; start it, or leave --broker out")
    with children.running(_command(host, port, folder)) as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(host, port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LeukoscopeError(f"no broker could be started on {host}:{port}; give another --broker")
            time.sleep(POLL_S)
        yield host, port


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _command(host: str, port: int, folder: Path) -> list[str]:
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        return children.module_command("edge.mqtt.brokers.embedded", host, str(port), ends_with_us=True)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {host}\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\n",
        encoding="utf-8",
    )
    return children.program_command(mosquitto, "-c", str(config))
