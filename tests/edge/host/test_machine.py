"""Temperature and throttling as a Pi and a Jetson show them in sysfs."""

from pathlib import Path

import pytest

from edge.host import machine


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_hottest_zone_counts_and_one_that_is_switched_off_does_not(tmp_path: Path) -> None:
    assert machine.temperature_c(tmp_path) is None
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "61000\n")
    write(tmp_path, "sys/class/thermal/thermal_zone2/temp", "")
    assert machine.temperature_c(tmp_path) == 61.0


@pytest.mark.parametrize(
    ("bits", "now", "since_boot"),
    [
        ("0\n", [], []),
        ("50005\n", ["under-voltage", "throttled"], ["under-voltage", "throttled"]),
        ("80000\n", [], ["soft temperature limit"]),
        ("2\n", ["frequency capped"], []),
    ],
)
def test_the_bits_of_a_pi(bits: str, now: list[str], since_boot: list[str], tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", bits)
    assert machine.throttling(tmp_path) == {"now": now, "since_boot": since_boot}


def test_the_kernels_alarm_where_the_firmware_does_not_tell(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon0/name", "cpu_thermal\n")
    write(tmp_path, "sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1\n")
    assert machine.throttling(tmp_path) is None
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    assert machine.throttling(tmp_path) == {"now": ["under-voltage"], "since_boot": []}


def test_a_jetsons_over_current(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon3/oc1_event_cnt", "0\n")
    assert machine.throttling(tmp_path) == {"now": [], "since_boot": []}
    write(tmp_path, "sys/class/hwmon/hwmon3/oc2_event_cnt", "7\n")
    assert machine.throttling(tmp_path) == {"now": [], "since_boot": ["over-current"]}


def test_the_board_names_itself(tmp_path: Path) -> None:
    assert machine.board(tmp_path) == ""
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert machine.board(tmp_path) == "Raspberry Pi 5 Model B Rev 1.0"


def test_this_machine_has_memory_and_disk(tmp_path: Path) -> None:
    memory_mb, disk_mb = machine.memory_mb(), machine.disk_mb(tmp_path)
    assert 5 < memory_mb["process"] < 10_000
    assert memory_mb["available"] > 50
    assert 0 < disk_mb["free"] <= disk_mb["total"]
