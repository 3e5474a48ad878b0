"""The installer and the remover, in a root of their own; systemctl is the one stand-in (the board has the real one)."""

import base64
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from edge.model.installed import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[2]
SITE = sysconfig.get_paths()["purelib"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the installer reads, so that a test may break it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("edge", "train", "export", "models", "systemd"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def write_wheel(folder: Path) -> Path:
    """A wheel of nothing, for a lock of its own."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "leukoscope_lock_probe-1.0-py3-none-any.whl"
    info = "leukoscope_lock_probe-1.0.dist-info"
    parts = {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: leukoscope-lock-probe\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in parts.items()]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]))
    return wheel


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def write_lock(wheel: Path, digest: str = "") -> Path:
    lock = wheel.parent / "box.lock"
    digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"leukoscope-lock-probe==1.0 --hash=sha256:{digest}\n")
    return lock


def run(
    script: Path, root: Path, *options: str, lock: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run with the packages of this environment: nothing is fetched, and the new one is built offline."""
    lock = lock or write_lock(write_wheel(root.parent / "wheelhouse"))
    environment = {
        **os.environ,
        "DESTDIR": str(root),
        "PYTHON": sys.executable,
        "LEUKOSCOPE_LOCK": str(lock),
        "PIP_FIND_LINKS": str(lock.parent),
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": SITE,
    }
    command = ["bash", str(script), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=170)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.timeout(600)  # three virtual environments; a busy machine needs a minute for one
def test_install_upgrade_refuse_and_remove(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    install, uninstall = source / "systemd" / "install.sh", source / "systemd" / "uninstall.sh"

    done = run(install, root, "--broker")
    assert done.returncode == 0, done.stderr + done.stdout
    first = (root / "opt/leukoscope/current").resolve()
    program = first / "venv/bin/leukoscope"
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, env={"PYTHONPATH": SITE})
    assert "second pair of eyes" in shown.stdout
    assert "include-system-site-packages = true" in (first / "venv/pyvenv.cfg").read_text()
    assert (
        str((root / "usr/local/bin/leukoscope").readlink()) == "/opt/leukoscope/current/venv/bin/leukoscope"
    )
    assert (root / "opt/leukoscope/models" / DEFAULT_MODEL).is_file()
    settings = root / "etc/leukoscope/leukoscope.toml"
    assert settings.read_bytes() == (ROOT / "systemd/leukoscope.toml").read_bytes()
    for unit in ("leukoscope.service", "leukoscope-log.service"):
        assert (root / "etc/systemd/system" / unit).read_bytes() == (ROOT / "systemd" / unit).read_bytes()
    assert "listener 1883 127.0.0.1" in (root / "etc/mosquitto/conf.d/leukoscope.conf").read_text()

    settings.write_text('[device]\nid = "ward-7"\n')
    state = root / "var/lib/leukoscope/outbox.db"
    state.parent.mkdir(parents=True)
    state.write_text("records")
    older = root / "opt/leukoscope/versions/20200101-000000"
    older.mkdir()
    other = write_lock(
        root.parent / "wheelhouse" / "leukoscope_lock_probe-1.0-py3-none-any.whl", digest="0" * 64
    )
    refused = run(install, root, lock=other)
    assert refused.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in refused.stderr
    assert (root / "opt/leukoscope/current").resolve() == first
    done = run(install, root)
    assert done.returncode == 0, done.stderr
    second = (root / "opt/leukoscope/current").resolve()
    assert second != first
    assert first.is_dir()  # to go back to
    assert not older.exists()
    assert settings.read_text() == '[device]\nid = "ward-7"\n'
    assert state.read_text() == "records"

    settings.write_text('[device]\nid = "ward 7"\n')
    refused = run(install, root)
    assert refused.returncode == 1
    assert "[device] id" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert (root / "opt/leukoscope/current").resolve() == second
    assert {first, second} <= set((root / "opt/leukoscope/versions").iterdir())
    assert not (root / "opt/leukoscope/untried").exists()

    settings.write_text('[device]\nid = "ward-7"\n')
    whole = (source / "models" / DEFAULT_MODEL).read_bytes()
    (source / "models" / DEFAULT_MODEL).write_bytes(whole[:-1000])
    refused = run(install, root)
    (source / "models" / DEFAULT_MODEL).write_bytes(whole)
    assert refused.returncode == 2
    assert DEFAULT_MODEL in refused.stderr
    assert (root / "opt/leukoscope/current").resolve() == second

    removed = run(uninstall, root)
    assert removed.returncode == 0, removed.stderr
    assert tree(root / "opt") == set()
    assert tree(root / "etc/systemd/system") <= {"mosquitto.service.d"}
    assert state.read_text() == "records"
    assert settings.is_file()
    assert run(uninstall, root, "--purge").returncode == 0
    assert not state.exists()
    assert not settings.exists()


def test_a_damaged_wheel_of_an_archive_is_refused(source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("models", "systemd"):
        (archive / name).symlink_to(source / name)
    (archive / "pyproject.toml").symlink_to(source / "pyproject.toml")
    wheel = write_wheel(archive / "wheels")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (archive / "wheels.sha256").write_text(f"{digest}  wheels/{wheel.name}\n")
    wheel.write_bytes(wheel.read_bytes() + b"x")
    root = tmp_path / "root"
    refused = run(archive / "systemd/install.sh", root)
    assert refused.returncode == 1
    assert "a wheel of the archive is damaged" in refused.stderr
    assert not (root / "opt/leukoscope/current").exists()


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_a_wrong_option_changes_nothing(script: str, tmp_path: Path) -> None:
    done = run(ROOT / "systemd" / script, tmp_path, "--fast")
    assert done.returncode == 2
    assert "--fast" in done.stderr
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_help_is_the_scripts_own_head(script: str, tmp_path: Path) -> None:
    done = run(ROOT / "systemd" / script, tmp_path, "--help")
    assert done.returncode == 0
    assert f"sudo ./systemd/{script}" in done.stdout
    assert "set -euo" not in done.stdout


def on_a_terminal(script: str) -> tuple[int, str]:
    """The exit status of a bash script whose output is a terminal, and what it shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(["bash", "-c", script], stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal's other end is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return process.wait(30), shown.decode()


@pytest.mark.parametrize(
    ("status", "last"), [(0, "Installing collected packages: a"), (3, "ERROR: no a==1\n  and why")]
)
def test_packages_are_counted_while_pip_works_and_its_errors_are_shown(
    status: int, last: str, tmp_path: Path
) -> None:
    lock = tmp_path / "box.lock"
    lock.write_text(
        "# made by uv\na==1 \\\n    --hash=sha256:0\nb-c==2 ; python_version < '3.11' \\\n    --hash=sha256:1\n"
    )
    pip = tmp_path / "pip"
    pip.write_text(
        f"#!/bin/bash\nprintf '%s\\n' 'Collecting a==1' '  Downloading a.whl' 'Collecting b-c==2' '{last}'\nexit {status}\n"
    )
    pip.chmod(0o755)
    function = f"""eval "$(sed -n '/^counted()/,/^}}/p' {ROOT}/systemd/install.sh)" """
    found, shown = on_a_terminal(f"set -euo pipefail; {function}; counted {lock} {pip}")
    assert found == status
    assert "package 1 of 2: a==1" in shown
    assert "package 2 of 2: b-c==2" in shown
    assert "Downloading" not in shown
    assert ("ERROR: no a==1" in shown and "and why" in shown) == (status != 0)


def test_everything_that_is_missing_is_told_at_once_with_one_command(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\nexit 1\n")  # no venv
    python.chmod(0o755)
    function = f"""eval "$(sed -n '/^check_machine()/,/^}}/p' {ROOT}/systemd/install.sh)" """
    fail = "fail() { echo $* >&2; exit 1; }"
    done = subprocess.run(
        ["bash", "-c", f"{fail}; {function}; BROKER=yes ROOT= PATH=/nowhere; check_machine"],
        env={"PYTHON": str(python), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    if shutil.which("mosquitto", path="/usr/sbin"):
        assert done.stderr == "missing here; type: sudo apt install python3-venv\n"
    else:
        assert done.stderr == "missing here; type: sudo apt install python3-venv mosquitto\n"
    assert done.returncode == 1


def test_the_guides_ask_for_the_disk_that_the_installer_needs() -> None:
    needed = re.search(r"^NEEDED_MB=(\d+)", (ROOT / "systemd/install.sh").read_text(), re.M)
    assert needed is not None
    for guide in ("start.md", "install.md"):
        assert f"{int(needed[1]) // 1000} GB free" in (ROOT / "docs" / guide).read_text(), guide
