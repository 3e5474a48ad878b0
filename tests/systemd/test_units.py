"""The units are what systemd understands, and as closed as they can be."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("leukoscope.service", "leukoscope-log.service", "leukoscope-web.service")
# The bound is 1.5; what is reached now must not be lost unnoticed.
HIGHEST_EXPOSURE = {"leukoscope.service": 1.3, "leukoscope-log.service": 1.1, "leukoscope-web.service": 1.1}


def analyze(*arguments: object) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (apt install systemd)")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with a program where theirs will be and the drop-ins that any systemd reads."""
    program = tmp_path / "leukoscope"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        text = (ROOT / "systemd" / unit).read_text()
        (tmp_path / unit).write_text(
            text.replace("/opt/leukoscope/current/venv/bin/leukoscope", str(program))
        )
    drop_in = tmp_path / "leukoscope.service.d"
    drop_in.mkdir()
    shutil.copy(ROOT / "systemd" / "drop-ins" / "jetson.conf", drop_in)
    return tmp_path


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(unit: str, installed: Path) -> None:
    done = analyze("verify", "--man=no", installed / unit)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "leukoscope" in line] == []


def test_verify_would_see_a_wrong_line(installed: Path) -> None:
    unit = installed / UNITS[0]
    unit.write_text(unit.read_text().replace("WatchdogSec=30", "WatchdogSec=soon\nWatchDogSec=30"))
    seen = analyze("verify", "--man=no", unit).stderr
    assert "WatchdogSec=soon" in seen or "Failed to parse" in seen
    assert "WatchDogSec" in seen


@pytest.mark.parametrize("unit", UNITS)
def test_the_sandbox_is_as_strict_as_it_was(unit: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", ROOT / "systemd" / unit)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert exposure, done.stdout + done.stderr
    assert float(exposure[1]) <= HIGHEST_EXPOSURE[unit]


def test_the_box_waits_for_no_network_and_stays_down_for_nothing() -> None:
    text = (ROOT / "systemd" / "leukoscope.service").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any("network" in line for line in lines)
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "User=leukoscope"):
        assert line in lines
