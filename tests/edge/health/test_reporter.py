"""The thread that reports health goes on, whatever happens in a report."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from broker import eventually

from edge.health import report as reports
from edge.health import reporter as reporting
from edge.health.report import Health, versions
from edge.health.reporter import Reporter
from edge.health.runlog import Restarts
from edge.host import threads
from edge.records import ModelReference


def make(folder: Path, report: Any, sent: list[bytes], late: Any = lambda: "") -> Reporter:
    return Reporter(report, sent.append, late, lambda _: None, 0.05, folder)


def test_an_unexpected_error_in_a_report_is_logged_once_and_the_next_report_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    calls: list[int] = []

    def report() -> dict[str, Any]:
        calls.append(1)
        if len(calls) <= 3:
            raise RuntimeError("the sensor is gone")
        return {"n": len(calls)}

    sent: list[bytes] = []
    reporter = make(tmp_path, report, sent)
    reporter.start()
    eventually(lambda: len(sent) >= 2)
    assert reporter.hangs() == "" and threads.dead() == {}
    reporter.stop()
    assert caplog.text.count("RuntimeError: the sensor is gone") == 1
    assert "works again" in caplog.text


def test_a_thread_that_died_is_seen_and_started_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = [SystemExit(), RuntimeError("at the top")]

    def late() -> str:
        if ends:
            raise ends.pop()
        return ""

    sent: list[bytes] = []
    reporter = make(tmp_path, dict, sent, late)
    reporter.start()
    eventually(lambda: "health" in threads.dead())
    assert "RuntimeError: at the top" in threads.fault()
    eventually(lambda: sent and not threads.dead())
    reporter._thread = None
    assert reporter.hangs() == ""
    reporter.start()
    dead = reporter._thread
    assert dead is not None
    reporter._stop.set()  # it returns, as if something had ended it
    dead.join(5)
    reporter._stop.clear()
    before = len(sent)
    reporter.hangs()
    eventually(lambda: len(sent) > before)
    assert "it is started anew" in caplog.text
    reporter.stop()


def test_a_report_that_hangs_stops_the_feeding_of_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "HANG_S", 0.3)
    reporter = make(tmp_path, lambda: time.sleep(1.5) or {}, [])
    reporter.start()
    eventually(lambda: reporter.hangs().startswith("its thread hangs for"))
    reporter.stop()


class NoOutbox:
    def report(self) -> dict[str, Any]:
        return {"depth": 0}


def test_a_report_looks_nothing_up_twice_that_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions()
    asked: list[int] = []
    monkeypatch.setattr(reports, "version", lambda _: pytest.fail("looked up again"))
    monkeypatch.setattr(reports.machine, "throttling", lambda: asked.append(1))
    health = Health(NoOutbox(), tmp_path, ModelReference(name="m", sha256="0" * 64), Restarts())
    for _ in range(10):
        assert health.report("connected, MQTT 5")["versions"] == versions()
    assert len(asked) == 1
