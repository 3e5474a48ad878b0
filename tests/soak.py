"""Break everything, in random order, and see whether each accepted result is stored exactly once, in order.

    python tests/soak.py --seconds 300 --seed 1        (= make soak)
    python tests/soak.py --rounds 1                    each fault once, as in the tests

A real Mosquitto, `leukoscope run` on the simulator at full rate with its outbox on a small file system, and
`leukoscope log` to SQLite. Exit status 1 where a result is missing, doubled or out of order.
"""

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "support")]

from broker import Mosquitto  # noqa: E402

from edge.mqtt.publisher import MqttSettings, Publisher  # noqa: E402
from edge.outbox.queue import Outbox  # noqa: E402

DEVICE = "soak"
DISK_MB = 24
DRAIN_TIMEOUT_S = 120.0
DAY_S = 86400
# Seconds that the daemon's wall clock is off: a year behind, at its beginning, ten years ahead, an hour.
CLOCKS = (-400 * DAY_S, 60 - time.time(), 3650 * DAY_S, 3600, -3600)

# The daemon as it is, except that it writes down what its outbox has promised to keep, and that its wall
# clock can be moved: the machine's own is everybody's.
DAEMON = """
import os, sys, time
clock, monotonic_ns, time_ns, read_at, off_ns = sys.argv[3], time.monotonic_ns, time.time_ns, 0, 0
def moved_ns():
    global read_at, off_ns
    if monotonic_ns() > read_at:
        with open(clock) as file:
            off_ns, read_at = int(float(file.read() or 0) * 1e9), monotonic_ns() + 200_000_000
    return time_ns() + off_ns
time.time_ns, time.time = moved_ns, lambda: moved_ns() / 1e9
from edge.outbox.queue import Outbox
promises = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
accept = Outbox.accept
def promised(future):
    if future.exception() is None:
        os.write(promises, b"%d %s\\n" % (future.result().sequence, future.result().id.encode()))
def accept_and_write_down(self, record, *others):
    future = accept(self, record, *others)
    future.add_done_callback(promised)
    return future
Outbox.accept = accept_and_write_down
from edge.cli.main import main
sys.exit(main(["run", "--config", sys.argv[1]]))
"""


class Soak:
    """The whole system in one folder, and the faults that befall it."""

    FPS = 0
    """Frames per second of the simulator; 0 for as many as it can."""

    BROKER = "autosave_on_changes true\nautosave_interval 1"
    """How the broker writes its sessions to the disk."""

    in_order = True
    """Whether the rows must stand in the order of their sequences."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng = folder, random.Random(seed)
        self.environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        self.faults: Counter[str] = Counter()
        self.skipped: list[str] = []
        self.last = 0
        self.peak_mb: Counter[str] = Counter()
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.mounted = (
            os.getuid() == 0
            and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", self.disk], capture_output=True
            ).returncode
            == 0
        )
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.promises = folder / "promises"
        self.database = folder / "results.db"
        self.log = (folder / "log").open("ab")
        (folder / "broker").mkdir()
        self.broker = Mosquitto(folder / "broker", persistence=self.BROKER).start()
        self.config = folder / "leukoscope.toml"
        self.config.write_text(
            f'[device]\nid = "{DEVICE}"\n[camera]\nsource = "simulator"\nfps = {self.FPS}\n[mqtt]\nport = {self.broker.port}\n'
            f'[outbox]\nfile = "{self.disk}/outbox.db"\nmax_mb = {DISK_MB // 2}\n'
        )
        self.logger = self.start_logger()
        self.wait_for_subscription()
        self.start_witness()
        self.daemon = self.start_daemon()

    def start_witness(self) -> None:
        """Another subscriber; here there is none, see kills.py."""

    def start_daemon(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", DAEMON, str(self.config), str(self.promises), str(self.clock)]
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def start_logger(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "edge", "log", "--broker", f"mqtt://127.0.0.1:{self.broker.port}"]
        command += ["--to", f"sqlite:///{self.database}", "--topic", f"leukoscope/{DEVICE}/cells"]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=self.log)

    def wait_for_subscription(self) -> None:
        """A broker keeps nothing for a logger that it has never seen."""
        for _ in range(600):
            if b"subscribed to" in (self.folder / "log").read_bytes():
                return
            time.sleep(0.1)
        raise AssertionError("the logger did not come up")

    def pause(self, least_s: float, most_s: float) -> None:
        end = time.monotonic() + self.rng.uniform(least_s, most_s)
        while time.monotonic() < end:
            self.measure()
            time.sleep(max(0.0, min(0.2, end - time.monotonic())))

    def measure(self) -> None:
        for name, process in (("daemon", self.daemon), ("logger", self.logger)):
            try:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            self.peak_mb[name] = max(self.peak_mb[name], pages * 4096 // 2**20)

    def broker_restarted(self) -> None:
        """A broker that ends in order has its sessions on the disk; what its crash costs it is its own."""
        assert self.broker.process is not None
        self.broker.process.terminate()
        self.broker.process.wait()
        self.pause(0.2, 3)
        self.broker.start()

    def network_frozen(self) -> None:
        assert self.broker.process is not None
        self.broker.process.send_signal(signal.SIGSTOP)
        self.pause(0.5, 6)
        self.broker.process.send_signal(signal.SIGCONT)

    def daemon_killed(self) -> None:
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = self.start_daemon()

    def logger_killed(self) -> None:
        self.logger.kill()
        self.logger.wait()
        self.pause(0, 3)
        self.logger = self.start_logger()

    def disk_full(self) -> None:
        ballast = self.disk / "ballast"
        for _ in range(3):  # the outbox gives up its reserve, and that is filled too
            try:
                with ballast.open("ab", buffering=0) as out:
                    while True:
                        out.write(bytes(65536))
            except OSError:
                self.pause(0.5, 1.5)
        ballast.unlink()

    def clock_moved(self) -> None:
        self.clock.write_text(str(self.rng.choice(CLOCKS)))
        self.pause(1, 4)
        self.clock.write_text("0")

    def kinds(self) -> list[str]:
        kinds = ["broker_restarted", "network_frozen", "daemon_killed", "logger_killed", "clock_moved"]
        if self.mounted:
            kinds.append("disk_full")
        else:
            self.skipped.append("disk_full: mounting a small file system needs root")
        return kinds

    def run(self, seconds: float, rounds: int) -> None:
        """Faults until the time is over and each has come `rounds` times."""
        kinds = self.kinds()
        end = time.monotonic() + seconds
        self.wait_for_results(20)
        while time.monotonic() < end or min(self.faults[kind] for kind in kinds) < rounds:
            for kind in self.rng.sample(kinds, len(kinds)):
                getattr(self, kind)()
                self.faults[kind] += 1
                for name in ("daemon", "logger"):
                    assert getattr(self, name).poll() is None, f"the {name} ended by itself after {kind}"
                self.pause(0.5, 4)

    def wait_for_results(self, more: int) -> None:
        """Wait until the daemon is at work, so that the faults meet something."""
        wanted = len(self.promised()) + more
        for _ in range(600):
            if len(self.promised()) >= wanted:
                return
            assert self.daemon.poll() is None, "the daemon ended by itself"
            time.sleep(0.1)
        raise AssertionError("the daemon gives no results")

    def promised(self) -> dict[int, str]:
        lines = self.promises.read_bytes().split(b"\n")[:-1] if self.promises.exists() else []
        return {int(number): identity.decode() for number, identity in (line.split() for line in lines)}

    def rows(self) -> list[tuple[int, str]]:
        with sqlite3.connect(self.database, timeout=20) as database:
            return database.execute("SELECT sequence, id FROM cells ORDER BY rowid").fetchall()

    def finish(self) -> int:
        """Let all that was accepted arrive; gives the last sequence."""
        self.wait_for_results(20)
        self.daemon.terminate()
        assert self.daemon.wait(60) == 0, "the daemon did not end with 0"
        outbox = Outbox(self.disk / "outbox.db")
        # As each new connection does. Here before it: an outbox in which nothing waits would count as drained at once.
        outbox.resend()
        publisher = Publisher(MqttSettings(port=self.broker.port), DEVICE, outbox)
        publisher.start()
        assert publisher.wait_drained(DRAIN_TIMEOUT_S), f"not drained: {publisher.state()}"
        publisher.stop(5)
        last = outbox.last_sequence()
        outbox.close()
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while len(self.rows()) < last and time.monotonic() < end:
            time.sleep(0.2)
        self.logger.terminate()
        assert self.logger.wait(60) == 0, "the logger did not end with 0"
        return last

    def verdict(self, last: int) -> list[str]:
        """What is wrong; empty where every accepted result stands once and in order."""
        rows, promised = self.rows(), self.promised()
        sequences = [sequence for sequence, _ in rows]
        stored = dict(rows)
        wrong = []
        if missing := sorted(set(range(1, last + 1)) - set(sequences)):
            wrong.append(f"{len(missing)} of {last} are missing: {missing[:10]}")
        if len(rows) != len(stored):
            wrong.append(f"{len(rows) - len(stored)} sequences stand twice")
        if self.in_order and sequences != sorted(sequences):
            wrong.append("rows are out of order")
        if lost := [n for n, identity in promised.items() if stored.get(n) != identity]:
            wrong.append(f"{len(lost)} promised ids are not those in the rows: {lost[:10]}")
        with sqlite3.connect(self.database) as database:
            if rejects := database.execute("SELECT reason FROM rejects LIMIT 3").fetchall():
                wrong.append(f"rejects: {rejects}")
        return wrong

    def close(self) -> None:
        for process in (self.daemon, self.logger):
            process.kill()
            process.wait()
        if self.broker.process is not None:
            self.broker.process.send_signal(signal.SIGCONT)
        self.broker.kill()
        self.log.close()
        if self.mounted:
            subprocess.run(["umount", "-l", self.disk], check=True)


def soak(folder: Path, seed: int, seconds: float, rounds: int) -> tuple[Soak, list[str]]:
    """Run it; gives what was done, and what is wrong."""
    run = Soak(folder, seed)
    try:
        began = time.monotonic()
        run.run(seconds, rounds)
        last = run.last = run.finish()
        wrong = run.verdict(last)
        print(
            f"seed {seed}, {time.monotonic() - began:.0f} s: {sum(run.faults.values())} faults {dict(run.faults)}"
        )
        print(f"{last} results accepted, {len(run.rows())} rows, {len(run.promised())} promises written down")
        print(f"peak memory, MB: {dict(run.peak_mb)}", *(f"\nleft out: {text}" for text in run.skipped))
        print("\n".join(wrong) if wrong else "every accepted result is stored once, in order")
        return run, wrong
    finally:
        run.close()


@contextmanager
def run_folder(keep: Path | None, prefix: str) -> Iterator[Path]:
    """The folder of a run: `keep`, or one that is gone afterwards."""
    folder = keep or Path(tempfile.mkdtemp(prefix=prefix))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=1, help="each fault at least so often")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and databases there")
    options = parser.parse_args()
    with run_folder(options.keep, "leukoscope-soak-") as folder:
        _, wrong = soak(folder, options.seed, options.seconds, options.rounds)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
