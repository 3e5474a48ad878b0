"""A real Mosquitto on a free loopback port, that tests may kill and start again."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from edge.records import ModelReference, Record, uuid7


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(100):
        assert process.poll() is None, "the broker ended at once"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the broker did not start")


class Mosquitto:
    """Skips the test where Mosquitto is not installed; `extra` are more lines of configuration."""

    def __init__(
        self,
        folder: Path,
        extra: str = "",
        anonymous: bool = True,
        persistent: bool = True,
        persistence: str = "autosave_on_changes true\nautosave_interval 1",
    ):
        program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        if program is None:
            pytest.skip("mosquitto is not installed (apt install mosquitto)")
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        user = "user root\n" if folder.owner() == "root" else ""
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous {str(anonymous).lower()}\n{user}{extra}\n"
            "max_queued_messages 0\n"
            + f"persistence {str(persistent).lower()}\npersistence_location {folder}/\n"
            + f"{persistence}\n"
        )
        self._command = [program, "-c", str(self._config)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Mosquitto":
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Mosquitto":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def make_record(**changes: object) -> Record:
    fields: dict[str, object] = {
        "id": uuid7(),
        "device": "box",
        "sequence": 0,
        "captured_at": "2026-01-01T00:00:00.000000Z",
        "monotonic_ns": 1,
        "specimen": 'slide, "7"\nα',
        "source": "test",
        "verdict": "ALL",
        "probabilities": {"ALL": 0.9, "HEM": 0.1},
        "reasons": [],
        "quality": {"sharpness": 1.5},
        "timings_ms": {"invoke": 2.0},
        "model": ModelReference(name="m", sha256="0" * 64),
        "settings_sha256": "1" * 64,
        "software": "leukoscope 0.1.0",
        **changes,
    }
    return Record(**fields)  # type: ignore[arg-type]


def eventually(condition, timeout_s: float = 40.0):  # type: ignore[no-untyped-def]
    """Wait for something to be true, and give it."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value
