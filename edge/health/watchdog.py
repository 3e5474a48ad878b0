"""Reports to systemd that the box is ready and works; does nothing if systemd does not ask for it.

The watchdog is fed by completed work alone, never by a timer: a worker that hangs must not look alive
(zigbee2mqtt's does). The other parts that must run are checked at each feeding.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

# At most so many feedings in the time that systemd allows between two.
FEEDINGS_IN_TIMEOUT = 4


def notify(message: str) -> bool:
    """Send one message of the sd_notify protocol, such as "READY=1"; lines are separated by a newline.

    Returns:
        Whether the message was sent; False if nothing asks for it or the socket is gone.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # Linux's abstract names
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.send(message.encode())
    except OSError as error:
        log.warning("the message %r to systemd was not sent: %s", message, error)
        return False
    return True


def timeout_s() -> float | None:
    """Seconds within which systemd wants to be fed, or None if this process has no watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None


class Watchdog:
    """Readiness and the feeding of systemd's watchdog. Any thread may call any method.

    Args:
        faults: of the other parts that must run: a name, and a function that returns what is wrong with the
            part, or "".
    """

    def __init__(self, faults: Mapping[str, Callable[[], str]]):
        self._faults = faults
        self._timeout_s = timeout_s()
        self._lock = threading.Lock()
        self._worked_at = time.monotonic()
        self._fed_at = 0.0
        self._logged = ""
        self._stage = "starting"
        self._ready = False

    def waits(self, why: str) -> None:
        """Not ready yet, and why; asks systemd for more time, as long as attempts keep finishing."""
        if not self._ready:
            notify(f"STATUS=waiting: {why}\nEXTEND_TIMEOUT_USEC=60000000")

    def ready(self, status: str) -> None:
        """Camera, model and outbox are ready."""
        if not self._ready:
            self._ready = True
            self._worked_at = time.monotonic()
            notify(f"READY=1\nSTATUS={status}")
            log.info("ready: %s", status, extra={"event": "ready"})

    def stopping(self) -> None:
        """The daemon ends in order."""
        notify("STOPPING=1\nSTATUS=stopping")

    def enters(self, stage: str) -> None:
        """The worker begins something that may hang; it is named if the feeding stops."""
        self._stage = stage

    def worked(self) -> None:
        """A unit of work is complete: feeds systemd, unless another part that must run has failed."""
        with self._lock:
            now = time.monotonic()
            fault = self._fault()
            if fault:
                if fault != self._logged:
                    log.error("the watchdog is not fed: %s", fault, extra={"event": "watchdog"})
                self._logged = fault
                return
            self._worked_at, self._logged = now, ""
            if self._timeout_s and now - self._fed_at >= self._timeout_s / FEEDINGS_IN_TIMEOUT:
                self._fed_at = now
                notify("WATCHDOG=1")

    def late(self) -> str:
        """Why systemd will soon restart the service, or ""; for the log and for the reason of the restart."""
        idle_s = time.monotonic() - self._worked_at
        if not (self._ready and self._timeout_s) or idle_s < self._timeout_s / 2:
            return ""
        return f"no completed work for {idle_s:.0f} s: {self._fault() or self._stage}"

    def _fault(self) -> str:
        for name, fault_of in self._faults.items():
            if fault := fault_of():
                return f"{name}: {fault}"
        return ""
