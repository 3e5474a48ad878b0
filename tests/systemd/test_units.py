"""The units are what systemd understands, and as closed as they can be."""

import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
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
def test_with_the_drop_in_for_private_networks_a_unit_reaches_no_others(
    unit: str, installed: Path, tmp_path: Path
) -> None:
    drop_in = ROOT / "systemd" / "drop-ins" / "private-network.conf"
    without = analyze("security", "--offline=true", "--no-pager", installed / unit).stdout
    folder = tmp_path / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    shutil.copy(drop_in, folder)
    done = analyze("verify", "--man=no", installed / unit)
    assert done.returncode == 0 and "private-network" not in done.stderr, done.stderr
    text = (installed / unit).read_text()
    (installed / unit).write_text(text + drop_in.read_text())  # offline, only the unit itself is read
    limited = analyze("security", "--offline=true", "--no-pager", installed / unit).stdout
    assert "Service does not define an IP address allow list" in without
    assert "Service does not define an IP address allow list" not in limited
    assert exposure_of(limited) < exposure_of(without)
    allowed = [
        ip_network(word)
        for line in drop_in.read_text().splitlines()
        if line.startswith("IPAddressAllow=")
        for word in line.partition("=")[2].split()
        if word not in ("localhost", "link-local", "multicast")
    ]
    for address, inside in {
        "192.168.1.9": True,
        "10.1.2.3": True,
        "8.8.8.8": False,
        "172.32.0.1": False,
    }.items():
        assert any(ip_address(address) in network for network in allowed) == inside


def exposure_of(text: str) -> float:
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)
    assert exposure, text
    return float(exposure[1])


def test_what_runs_as_root_at_boot_has_no_network() -> None:
    text = (ROOT / "systemd" / "leukoscope-settle.service").read_text()
    assert "IPAddressDeny=any" in text.splitlines()


@pytest.mark.parametrize("unit", UNITS)
def test_the_sandbox_is_as_strict_as_it_was(unit: str) -> None:
    done = analyze("security", "--offline=true", "--no-pager", ROOT / "systemd" / unit)
    assert exposure_of(done.stdout) <= HIGHEST_EXPOSURE[unit]


def test_the_box_waits_for_no_network_and_stays_down_for_nothing() -> None:
    text = (ROOT / "systemd" / "leukoscope.service").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any("network" in line for line in lines)
    for line in ("Type=notify", "Restart=always", "StartLimitIntervalSec=0", "User=leukoscope"):
        assert line in lines
