"""Children run the project's own modules, whatever lies in the current folder, and end with their parent."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from broker import eventually
from command import ENVIRONMENT, ROOT, leukoscope

from edge.host import children

SHADOWS = ("edge", "copy", "numpy", "json", "secrets", "text", "runpy", "ctypes", "msgspec", "paho", "cv2")


@pytest.fixture
def full_of_shadows(tmp_path: Path) -> Path:
    """A folder with a user's own modules under the names of others."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    return tmp_path


def test_the_demo_runs_in_a_folder_of_the_users_own_modules(full_of_shadows: Path) -> None:
    done = leukoscope("demo", "--simulate", "--seconds", 4, "--json", cwd=full_of_shadows)
    assert done.returncode == 0, done.stderr
    assert "of the user" not in done.stderr


@pytest.mark.parametrize("version", ["", "1"])
def test_a_module_is_started_from_where_this_one_is(version: str, full_of_shadows: Path) -> None:
    command = children.module_command("edge", "--version")
    done = subprocess.run(
        command,
        cwd=full_of_shadows,
        env={**ENVIRONMENT, "PYTHONSAFEPATH": version},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("leukoscope "), done.stderr


def test_a_cameras_worker_runs_there_too(full_of_shadows: Path) -> None:
    program = (
        "import sys; sys.path.pop(0)\n"
        "from edge.cameras.settings import CameraSettings\n"
        "from edge.cameras.backends.child import ChildCamera\n"
        "camera = ChildCamera(CameraSettings(source='/dev/nothing-here'))\n"
        "try: camera.open()\nexcept Exception as error: print(error)\nfinally: camera.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=full_of_shadows,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "/dev/nothing-here" in done.stdout, done.stderr


def test_a_child_ends_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom edge.host import children\n"
        "with children.running(children.program_command('/bin/sleep', '300')) as child:\n"
        "    print(child.pid, flush=True)\n    time.sleep(300)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    eventually(lambda: b"sleep" in Path(f"/proc/{child}/cmdline").read_bytes()[:12], 20)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    assert not alive(child)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_stop_kills_what_does_not_listen() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert children.stop(process, timeout_s=0.5) is False
    process.stdout.close()
    assert process.poll() == -signal.SIGKILL
