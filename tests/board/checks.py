"""What is done to the virtual board, and what must be seen then."""

import json
import time
from pathlib import Path

from tests.board import guide
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
TESTS = Path(__file__).parents[1]
CAMERA_TESTS = (
    "edge/cameras/test_cameras.py",
    "support/streams.py",
    "support/rtsp_server.py",
    "support/fake_picamera2.py",
)
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

    def runs_from(self, unit: str = "leukoscope") -> str:
        """The version whose libraries a service has loaded."""
        maps = f"/proc/$(systemctl show -P MainPID {unit})/maps"
        return self.board.out(f"grep -o '/opt/leukoscope/versions/[0-9-]*' {maps} | sort -u | cut -d/ -f 4-")

    def all_run_from(self, version: str) -> None:
        """The link and both services are of that version."""
        for unit in ("leukoscope", "leukoscope-log"):
            if (found := self.runs_from(unit)) != version:
                raise BoardError(f"{unit} runs from {found!r}, not {version}")
        self.board.run(f"[ $(readlink /opt/leukoscope/current) = {version} ]")

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

    def guide(self) -> str:
        self.active()
        return guide.follow(self.board)

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

    def current(self) -> str:
        return self.board.out("readlink /opt/leukoscope/current")

    def upgrade(self) -> str:
        before = self.current()
        self.board.run(f"{BUNDLE}LEUKOSCOPE_READY_S=900 ./systemd/install.sh", timeout_s=1800)
        after = self.current()
        if before == after:
            raise BoardError(f"still {before}")
        self.more()
        self.all_run_from(after)
        return f"{before} → {after}; {self.nothing_lost()}"

    def back(self) -> str:
        """As docs/install.md describes it."""
        after = self.current()
        names = self.board.out("ls /opt/leukoscope/versions").split()
        before = next(name for name in reversed(names) if name != Path(after).name)
        for command in guide.typed("$ ls /opt/leukoscope/versions"):
            self.board.run(command.replace("NAME", before), READY_S)
        self.more()
        self.all_run_from(f"versions/{before}")
        return f"{after} → versions/{before}; {self.nothing_lost()}"

    def rollback(self) -> str:
        before = self.current()
        self.board.run(f"{BUNDLE}sed -i 's/run --config/run --konfig/' systemd/leukoscope.service")
        # The new version and the old one have so long each, and the old one is slow here too.
        done = self.board.run(f"{BUNDLE}LEUKOSCOPE_READY_S=180 ./systemd/install.sh", 1800, check=False)
        self.board.run(f"{BUNDLE}sed -i 's/run --konfig/run --config/' systemd/leukoscope.service")
        if done.returncode == 0 or "runs again" not in done.stderr:
            raise BoardError(f"status {done.returncode}\n{done.stdout}{done.stderr}")
        self.more()
        self.all_run_from(before)
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
