"""`make board-test`: the project on a whole virtual ARM box, with its own kernel and systemd.

Installs from the offline bundle, classifies from V4L2 and from libcamera, and then breaks one thing after the
other. Prints a table of what was done and seen; the first check that fails ends it with status 1.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.board.machine import Board, BoardError

# Emulation on a PC is some 30 times slower than a board; the unit's own times are for a real one.
SLOW = """[Service]
TimeoutStartSec=900
WatchdogSec=90
TimeoutAbortSec=30
TimeoutStopSec=120
"""
READY_S = 900.0
BUNDLE = "cd /root/leukoscope-*/ && "
# As the service's user: files that SQLite makes must not become root's.
SQL = "runuser -u leukoscope -- sqlite3"
DATABASE = "/var/lib/leukoscope-log/results.db"
SETTINGS = "/etc/leukoscope/leukoscope.toml"
V4L2 = '[device]\nid = "board"\n[camera]\nsource = "/dev/video0"\nwidth = 640\nheight = 480\ntrigger = "interval"\ninterval_s = 1.0\nstall_s = 60.0\n'
PICAMERA2 = V4L2.replace("/dev/video0", "picamera2:0")
TESTS = Path(__file__).parents[1] / "edge"
CAMERA_TESTS = ("test_cameras.py", "streams.py", "rtsp_server.py", "fake_picamera2.py")
CONFORMANCE = "(frames_are_rgb or closed_twice or left_alone) and (v4l2 or picamera2)"
CONFORMANCE_TESTS = 6


class Checks:
    """The checks in their order; each gives what was seen."""

    def __init__(self, board: Board):
        self.board = board

    # What is asked of the board again and again.

    def active(self, timeout_s: float = READY_S) -> float:
        return self.board.wait_for("systemctl is-active leukoscope", timeout_s)

    def stored(self) -> int:
        answer = self.board.run(f"{SQL} 'file:{DATABASE}?mode=ro' 'SELECT count(*) FROM cells'", check=False)
        return int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0

    def more(self, count: int = 3, timeout_s: float = 600.0) -> float:
        """Wait until so many more results are stored."""
        began, before = time.monotonic(), self.stored()
        while self.stored() < before + count:
            if time.monotonic() - began > timeout_s:
                raise BoardError(f"no {count} more results within {timeout_s:.0f} s\n{self.log()}")
            time.sleep(2)
        return time.monotonic() - began

    def log(self) -> str:
        return self.board.run("journalctl -u leukoscope -n 25 --no-pager -o cat", check=False).stdout

    def lines_from_now(self) -> str:
        """A command that prints what the daemon will have written to the log from now on."""
        return f"journalctl -u leukoscope --since @{self.board.out('date +%s')} --no-pager -o cat"

    def restarts(self) -> dict[str, object]:
        runs = json.loads(self.board.out("cat /var/lib/leukoscope/runs.json"))
        return dict(runs["restarts"])

    def restarted(self, before: int, word: str) -> str:
        """Wait until the daemon is back and has counted one more restart; gives its reason."""
        self.board.wait_for(f"grep -q '\"count\":{before + 1}' /var/lib/leukoscope/runs.json", READY_S)
        self.active()
        reason = str(self.restarts()["reason"])
        if word not in reason:
            raise BoardError(f"the reason kept is {reason!r}, without {word!r}\n{self.log()}")
        return reason

    def count(self) -> int:
        return int(str(self.restarts()["count"]))

    def nothing_lost(self) -> str:
        """Every sequence that was given is stored, or waits in the outbox."""
        query = "SELECT count(DISTINCT sequence), coalesce(min(sequence), 1), coalesce(max(sequence), 0) FROM cells"
        waiting = "SELECT count(*), coalesce(max(sequence), 0) FROM records"
        for _ in range(60):
            stored, first, last = map(int, self.board.out(f"{SQL} {DATABASE} '{query}'").split("|"))
            left, last_left = map(
                int, self.board.out(f"{SQL} /var/lib/leukoscope/outbox.db '{waiting}'").split("|")
            )
            last = max(last, last_left)
            if stored + left >= last - first + 1:
                return f"{first} to {last} accepted, {stored} stored once each, {left} wait, none missing"
            time.sleep(2)
        raise BoardError(f"{first} to {last} accepted, but {stored} stored and {left} waiting")

    # The checks.

    def boot(self) -> str:
        seconds = self.board.switch_on()
        kernel = self.board.out(
            "uname -r -m; . /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1"
        )
        return f"login after {seconds:.0f} s; {', '.join(kernel.splitlines())}"

    def install(self) -> str:
        self.board.run("tar xzf /dev/vdb -C /root", timeout_s=600)
        self.board.run(
            "mkdir -p /etc/systemd/system/leukoscope.service.d && "
            f"printf '{SLOW}' > /etc/systemd/system/leukoscope.service.d/90-emulated.conf"
        )
        began = time.monotonic()
        environment = f"LEUKOSCOPE_READY_S={READY_S:.0f}"
        said = self.board.out(f"{BUNDLE}{environment} ./systemd/install.sh --broker --log", timeout_s=1800)
        ready = next(line for line in said.splitlines() if line.startswith("install: ready"))
        return f"without internet, in {time.monotonic() - began:.0f} s; {ready}"

    def sandbox(self) -> str:
        score = self.board.out("systemd-analyze security leukoscope.service --no-pager | tail -n 1")
        user = self.board.out("ps -o user= -p $(systemctl show -P MainPID leukoscope)")
        if float(score.split(":")[1].split()[0]) > 1.5 or user == "root":
            raise BoardError(f"{score}, as {user}")
        return f"{score.removeprefix('→ ')}; runs as {user}"

    def simulator(self) -> str:
        seconds = self.more(2)
        return f"2 more results stored within {seconds:.0f} s; {self.nothing_lost()}"

    def use(self, settings: str, source: str) -> str:
        self.board.run(
            f"cat > {SETTINGS} <<'END'\n{settings}END\nsystemctl restart --no-block leukoscope", timeout_s=300
        )
        time.sleep(3)
        seconds = self.active()
        self.more(3)
        query = "SELECT source, verdict FROM cells ORDER BY sequence DESC LIMIT 1"
        seen = self.board.out(f'{SQL} {DATABASE} "{query}"')
        if source not in seen:
            raise BoardError(f"the last result is {seen}")
        status = self.board.out("systemctl show -P StatusText leukoscope")
        return f"ready after {seconds:.0f} s ({status}); last result: {seen}"

    def v4l2(self) -> str:
        return self.use(V4L2, "/dev/video0")

    def picamera2(self) -> str:
        return self.use(PICAMERA2, "picamera2")

    def conformance(self) -> str:
        """What every back-end has to do, on the two real drivers of this board and with the installed version."""
        self.board.send([TESTS / name for name in CAMERA_TESTS], "/var/lib/camera-tests")
        self.board.run("systemctl stop leukoscope", 300)  # one program at a time has a camera
        command = (
            "cd /var/lib/camera-tests && runuser -u leukoscope -- env PYTHONPATH=/usr/local/lib/pytest "
            "LEUKOSCOPE_CAMERA=/dev/video0 LEUKOSCOPE_PICAMERA2=picamera2:0 PYTHONDONTWRITEBYTECODE=1 "
            "/opt/leukoscope/current/venv/bin/python -m pytest -p no:cacheprovider --timeout 900 -rA "
            f"test_cameras.py -k '{CONFORMANCE}'"
        )
        done = self.board.run(command, 3000, check=False)
        self.board.run("systemctl start --no-block leukoscope")
        passed = [line.split("::")[1] for line in done.stdout.splitlines() if line.startswith("PASSED")]
        if done.returncode != 0 or len(passed) != CONFORMANCE_TESTS:
            raise BoardError(done.stdout[-6000:] + done.stderr)
        self.active()
        return ", ".join(passed)

    def doctor(self) -> str:
        done = self.board.run(
            f"leukoscope doctor --config {SETTINGS} --bundle /root/support.tar.gz", 600, check=False
        )
        if done.returncode != 0:
            raise BoardError(done.stdout + done.stderr)
        states = [line.split()[0] for line in done.stdout.splitlines()[:-1]]
        files = self.board.out("tar tzf /root/support.tar.gz").splitlines()
        return f"{states.count('ok')} ok, {states.count('warning')} warnings; bundle of {len(files)} files"

    def signalled(self, signal: str, word: str) -> str:
        """Send the daemon a signal that it cannot catch; the reason kept afterwards has that word."""
        before = self.count()
        began = time.monotonic()
        self.board.run(f"systemctl kill --signal={signal} --kill-whom=main leukoscope")
        reason = self.restarted(before, word)
        seconds = time.monotonic() - began
        self.more()
        return f"ready again after {seconds:.0f} s; reason kept: {reason}; {self.nothing_lost()}"

    def killed(self) -> str:
        return self.signalled("KILL", "KILL")

    def stopped_process(self) -> str:
        return self.signalled("STOP", "watchdog")

    def camera_removed(self) -> str:
        before, lines = self.count(), self.lines_from_now()
        self.board.run("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind")
        faults = f"{lines} | grep '^camera: .*tried again'"
        self.board.wait_for(f"{faults} >/dev/null", 300)
        said = self.board.out(f"{faults} | tail -n 1")
        self.board.run(
            "for i in $(seq 60); do rmmod vivid && break; sleep 2; done; ! lsmod | grep -q ^vivid", 300
        )
        time.sleep(20)
        self.board.run("modprobe vivid")
        began = time.monotonic()
        self.more(timeout_s=900)
        seconds = time.monotonic() - began
        return f"said: {said!r}; {self.count() - before} restarts; results again {seconds:.0f} s after modprobe; {self.nothing_lost()}"

    def broker_stopped(self) -> str:
        self.board.run("systemctl stop mosquitto")
        depth = f"{SQL} 'file:/var/lib/leukoscope/outbox.db?mode=ro' 'SELECT count(*) FROM records'"
        self.board.wait_for(f"[ $({depth}) -ge 5 ]", 300)
        waited = self.board.out(depth)
        self.board.run("systemctl start mosquitto")
        seconds = self.board.wait_for(f"[ $({depth}) -le 1 ]", 600)
        return (
            f"{waited} records waited; sent {seconds:.0f} s after the broker was back; {self.nothing_lost()}"
        )

    def disk_full(self) -> str:
        before, lines = self.count(), self.lines_from_now()
        self.board.run(
            "dd if=/dev/zero of=/var/lib/fill bs=1M 2>/dev/null; dd if=/dev/zero of=/var/lib/fill2 bs=4k 2>/dev/null; sync; true",
            900,
        )
        faults = f"{lines} | grep 'outbox.*\\(full\\|records wait in memory\\)'"
        self.board.wait_for(f"{faults} >/dev/null", 600)
        said = self.board.out(f"{faults} | tail -n 1")
        time.sleep(30)
        self.board.run("rm -f /var/lib/fill /var/lib/fill2")
        seconds = self.more(timeout_s=600)
        return f"said: {said!r}; results again {seconds:.0f} s after room was made; {self.count() - before} restarts; {self.nothing_lost()}"

    def power_cut(self) -> str:
        before = self.count()
        self.more(1)
        stored = self.stored()
        self.board.cut_power()
        login = self.board.switch_on()
        self.active()
        self.more()
        first = self.board.out(
            "journalctl -b -u leukoscope -o short-monotonic --no-pager | grep -m1 ready: | sed 's/^\\[ *\\([0-9.]*\\).*/\\1/'"
        )
        reason = str(self.restarts()["reason"])
        if self.count() != before + 1 or "power" not in reason:
            raise BoardError(f"{self.count() - before} restarts, reason {reason!r}")
        return f"{stored} stored before; login after {login:.0f} s, ready {first} s after the kernel; reason kept: {reason}; {self.nothing_lost()}"

    def upgrade(self) -> str:
        before = self.board.out("readlink /opt/leukoscope/current")
        self.board.run(f"{BUNDLE}LEUKOSCOPE_READY_S=900 ./systemd/install.sh", timeout_s=1800)
        after = self.board.out("readlink /opt/leukoscope/current")
        if before == after:
            raise BoardError(f"still {before}")
        self.more()
        return f"{before} → {after}; {self.nothing_lost()}"

    def rollback(self) -> str:
        before = self.board.out("readlink /opt/leukoscope/current")
        self.board.run(f"{BUNDLE}sed -i 's/run --config/run --konfig/' systemd/leukoscope.service")
        # The new version and the old one have so long each, and the old one is slow here too.
        done = self.board.run(f"{BUNDLE}LEUKOSCOPE_READY_S=300 ./systemd/install.sh", 1800, check=False)
        self.board.run(f"{BUNDLE}sed -i 's/run --konfig/run --config/' systemd/leukoscope.service")
        after = self.board.out("readlink /opt/leukoscope/current")
        if done.returncode == 0 or before != after or "runs again" not in done.stderr:
            raise BoardError(f"status {done.returncode}, {before} → {after}\n{done.stdout}{done.stderr}")
        self.more()
        return f"{done.stderr.strip().splitlines()[-1]}; {self.nothing_lost()}"

    def removal(self) -> str:
        self.board.run(f"{BUNDLE}./systemd/uninstall.sh")
        left = self.board.out(
            "ls -d /opt/leukoscope /var/lib/leukoscope /var/lib/leukoscope-log /etc/leukoscope 2>/dev/null || true"
        )
        self.board.run(f"{BUNDLE}./systemd/uninstall.sh --purge")
        gone = self.board.run(
            "ls -d /opt/leukoscope /var/lib/leukoscope /etc/leukoscope; id leukoscope", check=False
        )
        if "/opt" in left or gone.stdout:
            raise BoardError(f"left: {left}; after --purge: {gone.stdout}")
        return f"left after removal: {', '.join(left.split())}; after --purge: nothing, nor the user"


def steps(checks: Checks) -> list[tuple[str, Callable[[], str]]]:
    """What is done, in order."""
    return [
        ("boot", checks.boot),
        ("install from the offline bundle", checks.install),
        ("sandbox and user", checks.sandbox),
        ("results from the simulator", checks.simulator),
        ("results from V4L2 (/dev/video0)", checks.v4l2),
        ("doctor and its bundle", checks.doctor),
        ("kill -9", checks.killed),
        ("process stopped (SIGSTOP)", checks.stopped_process),
        ("camera removed and brought back", checks.camera_removed),
        ("broker stopped for a while", checks.broker_stopped),
        ("disk full", checks.disk_full),
        ("power cut while writing, then boot", checks.power_cut),
        ("results from picamera2 (libcamera's virtual camera)", checks.picamera2),
        ("conformance of cameras (V4L2, picamera2)", checks.conformance),
        ("upgrade in place", checks.upgrade),
        ("a version that never becomes ready", checks.rollback),
        ("removal", checks.removal),
    ]


def main() -> int:
    """Run the checks; see the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", type=Path, required=True, help="what build.sh made")
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the release archive")
    parser.add_argument("--work", type=Path, help="keep the disk here, and go on with it")
    parser.add_argument(
        "--only", nargs="*", help="these checks, by a part of their name (boot is always done)"
    )
    options = parser.parse_args()
    bundle = sorted(options.bundle.glob("leukoscope-*-arm64.tar.gz"))[-1]
    with tempfile.TemporaryDirectory(prefix="leukoscope-board-", dir=options.board) as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        board = Board(options.board, work, bundle)
        try:
            return run(Checks(board), options.only, work / "table.md")
        finally:
            board.cut_power()


def run(checks: Checks, only: list[str] | None, table: Path) -> int:
    """Do the checks and write one row of the table for each as soon as it is done."""
    for name, check in steps(checks):
        if only is not None and name != "boot" and not any(part in name for part in only):
            continue
        began = time.monotonic()
        try:
            seen, status = check(), "ok"
        except BoardError as error:
            seen, status = str(error), "FAILED"
        row = f"| {name} | {status} | {time.monotonic() - began:.0f} | {seen if status == 'ok' else 'see above'} |"
        if status != "ok":
            print(seen, file=sys.stderr)
        print(row, flush=True)
        with table.open("a") as out:
            out.write(row + "\n")
        if status != "ok":
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
