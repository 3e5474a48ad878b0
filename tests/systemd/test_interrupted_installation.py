"""The installer is killed at each of its steps; then it is run again, or the box boots: a whole version runs.

What it calls on the machine (Python, systemctl, sleep) is a stand-in here; its own steps are real.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `python -m venv DIR` makes a folder with a `leukoscope` that says its version; all else succeeds.
PYTHON = """#!/bin/sh
for word; do last=$word; done
case "$*" in
  *"-m venv"*) mkdir -p "$last/bin"; cp "$0" "$last/bin/python"
    printf '#!/bin/sh\\necho whole\\n' >"$last/bin/leukoscope"; chmod +x "$last/bin/leukoscope" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$SYSTEMCTL_LOG"
case "$*" in *MainPID*) echo 7 ;; *--version*) echo systemd 255 ;; esac
"""
# What is synced, and which version is the current one at that moment.
SYNC = """#!/bin/sh
echo "$(readlink "$DESTDIR/opt/leukoscope/current") $*" >>"$SYSTEMCTL_LOG.sync"
"""
# Bash reads this before the script: it kills itself with -9 before its Nth command.
KILL = """set -T
commands=0
trap 'commands=$((commands + 1)); [ $commands -lt $KILL_AT ] || kill -9 $$' DEBUG
"""
LAST_STEP = 400
STRIDE = 4
"""Every fourth command in the normal run, every one with LEUKOSCOPE_THOROUGH=1."""


class Box:
    """A root with the installer's stand-ins."""

    def __init__(self, folder: Path):
        self.root, self.tools = folder / "root", folder / "tools"
        self.tools.mkdir()
        for name, text in (
            ("python3", PYTHON),
            ("systemctl", SYSTEMCTL),
            ("sleep", "#!/bin/sh\n"),
            ("sync", SYNC),
        ):
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)
        (self.tools / "kill.sh").write_text(KILL)
        (self.tools / "box.lock").write_text("")
        self.opt = self.root / "opt/leukoscope"

    def install(self, *options: str, kill_at: int = 0) -> int:
        environment = {
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "DESTDIR": str(self.root),
            "PYTHON": str(self.tools / "python3"),
            "LEUKOSCOPE_LOCK": str(self.tools / "box.lock"),
            "LEUKOSCOPE_SYSTEMCTL": str(self.tools / "systemctl"),
            "SYSTEMCTL_LOG": str(self.tools / "log"),
        }
        if kill_at:
            environment |= {"BASH_ENV": str(self.tools / "kill.sh"), "KILL_AT": str(kill_at)}
        command = ["bash", str(ROOT / "systemd/install.sh"), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, -9), done.stderr
        return done.returncode

    def current(self) -> Path:
        return (self.opt / "current").resolve()

    def assert_whole(self) -> None:
        program = self.root / "usr/local/bin/leukoscope"
        assert str(program.readlink()) == "/opt/leukoscope/current/venv/bin/leukoscope"
        done = subprocess.run([self.current() / "venv/bin/leukoscope"], capture_output=True, text=True)
        assert done.stdout == "whole\n"
        assert (self.current() / ".complete").exists()
        assert list((self.current() / "models").glob("*.tflite"))
        assert (self.opt / "models").resolve() == self.current() / "models"


@pytest.mark.timeout(600)  # about 200 installations
def test_killed_at_any_step_the_box_boots_with_a_whole_version_and_installs_again(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.install() == 0
    box.assert_whole()
    first = box.current()
    saved = tmp_path / "saved"
    shutil.copytree(box.root, saved, symlinks=True)
    went_back = killed = 0
    stride = 1 if os.environ.get("LEUKOSCOPE_THOROUGH") else STRIDE
    for step in range(1, LAST_STEP, stride):
        shutil.rmtree(box.root)
        shutil.copytree(saved, box.root, symlinks=True)
        if box.install(kill_at=step) == 0:
            break
        killed += 1
        # The box boots: before the daemon starts, it goes back to what ran before, unless the new one was ready.
        untried = (box.opt / "untried").exists()
        assert box.install("--settle") == 0
        box.assert_whole()
        if untried:
            assert box.current() == first
            went_back += 1
        # Another try succeeds, and leaves nothing half installed.
        before = box.current()
        assert box.install() == 0
        box.assert_whole()
        assert box.current() != before
        versions = set((box.opt / "versions").iterdir())
        assert versions == {before, box.current()}
        assert not (box.opt / "untried").exists()
    else:
        pytest.fail(f"the installer has more than {LAST_STEP} steps")
    assert killed > 20
    assert went_back > 3
    assert box.current() != first


def test_a_version_is_on_the_disk_before_it_is_the_current_one(tmp_path: Path) -> None:
    box = Box(tmp_path)
    assert box.install() == 0
    first = f"versions/{box.current().name}"
    log = box.tools / "log.sync"
    log.unlink()
    assert box.install() == 0
    version, new = str(box.current()), f"versions/{box.current().name}"
    synced = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert [first, f"--file-system {version}"] in synced
    assert any(now == first and f"{version}/.complete" in what for now, what in synced)
    assert any(now == new and what == str(box.opt) for now, what in synced)


def test_two_installers_at_once_do_not_meet(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.opt.mkdir(parents=True)
    held = subprocess.Popen(["flock", str(box.opt / ".lock"), "sleep", "30"])
    try:
        while subprocess.run(["flock", "--nonblock", str(box.opt / ".lock"), "true"]).returncode == 0:
            assert held.poll() is None
        with pytest.raises(AssertionError, match="another installation is running"):
            box.install()
    finally:
        held.kill()
        held.wait()
