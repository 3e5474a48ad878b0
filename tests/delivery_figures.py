"""How fast results are delivered here, and how much memory that takes.

    python tests/delivery_figures.py                      a short run
    python tests/delivery_figures.py --records 100000     the figures of docs/delivery.md

A real Mosquitto (its queue in memory), a real PostgreSQL where one is installed, files in a temporary folder.
"""

import argparse
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "support")]

import paho.mqtt.client as paho  # noqa: E402
from broker import Mosquitto, make_record  # noqa: E402

from edge.mqtt.publisher import MqttSettings, Publisher  # noqa: E402
from edge.outbox.queue import Outbox  # noqa: E402
from edge.outbox.waiting import OutboxFullError  # noqa: E402
from edge.records import encode  # noqa: E402

TIMEOUT_S = 600.0
CHUNK = 10_000


def memory_mb(pid: int | str = "self") -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Memory:
    """Resident memory of some processes at the start and at most, in MB."""

    def __init__(self, *pids: int | str):
        self._pids = pids or ("self",)
        self.start = self.peak = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _now(self) -> float:
        return max(memory_mb(pid) for pid in self._pids)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            try:
                self.peak = max(self.peak, self._now())
            except (OSError, IndexError):
                return

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __str__(self) -> str:
        return f"memory {self.start:.0f} MB, at most {self.peak:.0f}"


def accept_and_drain(folder: Path, records: int) -> None:
    outbox = Outbox(folder / "outbox.db", max_mb=10_000)
    templates = [make_record() for _ in range(100)]
    waits_ms: list[float] = []
    with Memory() as memory:
        began = time.monotonic()
        for n in range(records):
            given = time.monotonic()

            def durable(_future: object, given: float = given) -> None:
                waits_ms.append((time.monotonic() - given) * 1e3)

            while True:
                try:
                    outbox.accept(templates[n % 100]).add_done_callback(durable)
                    break
                except OutboxFullError:  # the disk is slower than this loop
                    time.sleep(0.01)
        outbox.flush()
        took = time.monotonic() - began
    ordered = sorted(waits_ms)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    print(
        f"outbox, durable commits: {records / took:.0f} records/s; to the disk p50 {p50:.1f} ms, p99 {p99:.1f}; {memory}"
    )
    with Mosquitto(folder, persistent=False) as broker:
        broker.start()
        publisher = Publisher(MqttSettings(port=broker.port), "box", outbox)
        live: list[float] = []

        def accept_live() -> None:  # new results while the backlog drains
            for _ in range(20):
                given = time.monotonic()
                outbox.accept(make_record()).result(60)
                live.append((time.monotonic() - given) * 1e3)
                time.sleep(0.05)

        with Memory() as memory:
            began = time.monotonic()
            publisher.start()
            accept_live()
            assert publisher.wait_drained(TIMEOUT_S)
            took = time.monotonic() - began
        print(f"drain of {records} in order: {records / took:.0f} records/s; {memory}")
        print(f"new results meanwhile: on the disk after {sorted(live)[len(live) // 2]:.1f} ms (median)")
        publisher.stop(5)
    outbox.close()


class Loggers:
    """`leukoscope log`, several of a group; their results count as they are stored."""

    def __init__(self, folder: Path, port: int, target: str, members: int):
        self._log = folder / f"loggers-{members}-{target.partition(':')[0]}.log"
        self._command = [
            sys.executable,
            "-m",
            "edge",
            "log",
            "--broker",
            f"mqtt://127.0.0.1:{port}",
            "--to",
            target,
        ]
        self._command += ["--group", "figures"] if members > 1 else []
        self._members = members
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        self._log.write_bytes(b"")
        with self._log.open("ab") as log:
            for _ in range(self._members):
                self.processes.append(
                    subprocess.Popen(self._command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
                )
        wait(
            lambda: self._log.read_bytes().count(b"subscribed to") >= self._members,
            "the loggers did not come up",
        )

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(60)
        self.processes = []


def wait(condition: Callable[[], bool], failure: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, failure
        time.sleep(0.05)


def publish(port: int, records: int) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for start in range(0, records, CHUNK):  # paho queues 65,535 at most
        numbers = range(start, min(start + CHUNK, records))
        sent = [
            client.publish("leukoscope/box/cells", encode(make_record(sequence=n)), qos=1) for n in numbers
        ]
        sent[-1].wait_for_publish(TIMEOUT_S)
    client.disconnect()
    client.loop_stop()


def logger_rate(
    folder: Path, name: str, target: str, members: int, records: int, count: Callable[[], int]
) -> None:
    """The broker keeps `records` for loggers that are away; then they come."""
    before = count()
    with Mosquitto(folder, persistent=False) as broker:
        broker.start()
        loggers = Loggers(folder, broker.port, target, members)
        loggers.start()
        loggers.stop()
        publish(broker.port, records)
        loggers.start()
        with Memory(*(process.pid for process in loggers.processes)) as memory:
            wait(lambda: count() > before, "nothing is stored")
            first, began = count(), time.monotonic()
            wait(lambda: count() >= before + records, "not all was stored")
            took = time.monotonic() - began
        loggers.stop()
    rate = (before + records - first) / max(took, 1e-9)
    print(f"logger, {name}, {members} member{'s' if members > 1 else ''}: {rate:.0f} rows/s; {memory} each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=5000, metavar="N")
    records = parser.parse_args().records
    folder = Path(tempfile.mkdtemp(prefix="leukoscope-figures-"))
    try:
        print(
            f"{records} records of {len(encode(make_record()))} bytes; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        accept_and_drain(folder, records)

        def rows(file: Path) -> int:
            if not file.exists():
                return 0
            with sqlite3.connect(file, timeout=60) as database:
                try:
                    return int(database.execute("SELECT count(*) FROM cells").fetchone()[0])
                except sqlite3.OperationalError:  # not made yet
                    return 0

        for members in (1, 3):
            file = folder / f"results-{members}.db"
            logger_rate(folder, "SQLite", f"sqlite:///{file}", members, records, lambda file=file: rows(file))
        if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
            print("PostgreSQL is not installed: left out")
            return
        from postgres import PostgreSQL

        with PostgreSQL() as server:

            def count() -> int:
                if not server.query("SELECT to_regclass('cells') IS NOT NULL")[0][0]:
                    return 0
                return int(server.query("SELECT count(*) FROM cells")[0][0])

            for members in (1, 3):
                logger_rate(folder, "PostgreSQL", server.address, members, records, count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
