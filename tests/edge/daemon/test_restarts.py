"""A daemon that ends badly is counted, with the reason, in health and in its history."""

import json
import os
import urllib.request
from pathlib import Path

import pytest
from broker import eventually, free_port
from systemd_socket import daemon, write_settings

from edge.health.runlog import POWER_LOST, UNKNOWN, RunLog


def end_of(folder: Path, last_stop: str = "", fault: str = "") -> str:
    """The reason that the next run sees for the end of one that began in `folder` and did not end."""
    begun = RunLog(folder)
    begun.begin()
    if fault:
        begun.fault(fault)
    if last_stop:
        (folder / "last-stop").write_text(last_stop)
    return RunLog(folder).begin().reason


def test_the_reason_is_what_systemd_saw_and_what_the_daemon_found(tmp_path: Path) -> None:
    assert end_of(tmp_path / "a", "signal killed KILL\n") == "signal killed KILL"
    assert end_of(tmp_path / "b", "watchdog dumped ABRT\n", "no work") == "watchdog dumped ABRT; no work"
    assert end_of(tmp_path / "c") == UNKNOWN
    twice = "watchdog dumped ABRT\nsuccess killed TERM\n"  # the second before it could read of the first
    assert end_of(tmp_path / "d", twice) == "watchdog dumped ABRT; success killed TERM"


def test_restarts_are_counted_over_many_runs_and_wanted_ends_are_not(tmp_path: Path) -> None:
    for count in (0, 1, 2):  # each is left without an end, which the next one finds
        assert RunLog(tmp_path).begin().count == count
    last = RunLog(tmp_path)
    assert last.begin().count == 3
    last.end()
    assert RunLog(tmp_path).restarts.count == 3
    assert RunLog(tmp_path).begin().count == 3


def test_a_run_that_fails_is_counted_with_its_fault(tmp_path: Path) -> None:
    failed = RunLog(tmp_path)
    failed.begin()
    failed.end("camera /dev/video0: no such device")
    (tmp_path / "last-stop").write_text("exit-code exited 1\n")
    assert RunLog(tmp_path).begin().reason == "exit-code exited 1; camera /dev/video0: no such device"


def test_another_boot_means_that_the_power_went(tmp_path: Path) -> None:
    RunLog(tmp_path).begin()
    file = tmp_path / "runs.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "boot": "0e1f"}))
    assert RunLog(tmp_path).begin().reason == POWER_LOST


@pytest.mark.parametrize("content", [b"", b"{", b'{"restarts": 3}', b"\xff\xfe"])
def test_a_broken_file_of_runs_stops_no_run(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_bytes(content)
    assert RunLog(tmp_path).begin().count == 0
    assert RunLog(tmp_path).begin().count == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    RunLog(tmp_path).begin()


def test_a_killed_daemon_says_so_when_it_is_back(tmp_path: Path) -> None:
    config, port = write_settings(tmp_path, free_port()), free_port()
    history = tmp_path / "state" / "health.jsonl"
    with daemon(config) as process:
        eventually(history.exists, 30)
        process.kill()
        process.wait()
    (tmp_path / "state" / "last-stop").write_text("signal killed KILL\n")
    with daemon(config, "--metrics", f"127.0.0.1:{port}"):
        eventually(lambda: len(history.read_text().splitlines()) >= 2, 30)
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    report = json.loads(history.read_text().splitlines()[-1])
    assert report["restarts"]["count"] == 1
    assert report["restarts"]["reason"] == "signal killed KILL"
    assert "leukoscope_restarts_total 1.0" in text.splitlines()
