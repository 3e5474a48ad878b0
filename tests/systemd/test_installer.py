"""The installer and the remover, in a root of their own; systemctl is the one stand-in (the board has the real one)."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

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


def run(script: Path, root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run with the packages of this environment: nothing is fetched, and the new one is built offline."""
    environment = {
        **os.environ,
        "DESTDIR": str(root),
        "PYTHON": sys.executable,
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's "no": 0 switches isolation off
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
    assert (root / "opt/leukoscope/models/mobilenet_m_1_0_224.tflite").is_file()
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
    assert "$.device.id" in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert (root / "opt/leukoscope/current").resolve() == second
    assert sorted((root / "opt/leukoscope/versions").iterdir()) == [first, second]

    removed = run(uninstall, root)
    assert removed.returncode == 0, removed.stderr
    assert tree(root / "opt") == set()
    assert tree(root / "etc/systemd/system") <= {"mosquitto.service.d"}
    assert state.read_text() == "records"
    assert settings.is_file()
    assert run(uninstall, root, "--purge").returncode == 0
    assert not state.exists()
    assert not settings.exists()


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
