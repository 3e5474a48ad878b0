"""The watchdog does not lie: it is fed by completed work alone, over a real socket as systemd has it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import Mosquitto, eventually, free_port
from systemd_socket import WATCHDOG_S, NotifySocket, daemon, write_settings

from edge.health import watchdog
from edge.health.watchdog import Watchdog


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    notify = NotifySocket(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", notify.address)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield notify
    notify.close()


def test_off_systemd_nothing_is_sent_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert not watchdog.notify("READY=1")
    box = Watchdog({})
    box.ready("well")
    box.worked()
    box.stopping()
    assert box.late() == ""


def test_a_socket_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nowhere"))
    assert not watchdog.notify("READY=1")


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    notify = NotifySocket(f"@leukoscope-test-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", notify.address)
    assert watchdog.notify("READY=1\nSTATUS=here")
    assert notify.messages(0.2) == ["READY=1", "STATUS=here"]
    notify.close()


def test_the_watchdog_of_another_process_is_not_fed(
    systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Watchdog({}).worked()
    assert systemd.messages(0.1) == []


def test_work_feeds_at_a_bounded_rate_and_time_alone_does_not(systemd: NotifySocket) -> None:
    box = Watchdog({})
    box.ready("well")
    for _ in range(1000):
        box.worked()
    assert systemd.messages(0.1) == ["READY=1", "STATUS=well", "WATCHDOG=1"]
    assert systemd.messages(0.3) == []  # nothing works: nothing is said
    box.worked()
    assert systemd.messages(0.1) == ["WATCHDOG=1"]


def test_what_has_to_live_besides_stops_the_feeding_and_is_named(systemd: NotifySocket) -> None:
    fault = ""
    box = Watchdog({"publisher": lambda: fault})
    box.ready("well")
    fault = "its thread has ended"
    box.worked()
    assert "WATCHDOG=1" not in systemd.messages(0.25)
    assert box.late().endswith("publisher: its thread has ended")
    fault = ""
    box.worked()
    assert systemd.messages(0.1) == ["WATCHDOG=1"]
    assert box.late() == ""


def test_before_it_is_ready_it_asks_for_more_time_and_says_why(systemd: NotifySocket) -> None:
    box = Watchdog({})
    box.waits("camera /dev/video0: no such device")
    sent = systemd.messages(0.1)
    assert "STATUS=waiting: camera /dev/video0: no such device" in sent
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in sent)
    assert box.late() == ""


def runs(folder: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((folder / "state" / "runs.json").read_text())  # type: ignore[no-any-return]


def test_a_daemon_is_ready_and_fed_while_it_works_and_says_when_it_stops(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    with Mosquitto(tmp_path) as broker:
        broker.start()
        with daemon(write_settings(tmp_path, broker.port), notify=notify) as process:
            notify.wait_for("READY=1")
            assert "WATCHDOG=1" in notify.messages(WATCHDOG_S)
            process.send_signal(signal.SIGSTOP)
            notify.messages(0.2)
            assert notify.messages(WATCHDOG_S) == []
            process.send_signal(signal.SIGCONT)
            notify.wait_for("WATCHDOG=1")
            process.terminate()
            notify.wait_for("STOPPING=1")
            process.wait(20)
    notify.close()
    assert runs(tmp_path)["running"] is False
    assert runs(tmp_path)["restarts"]["count"] == 0


def test_work_without_a_broker_feeds_too(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    with daemon(write_settings(tmp_path, free_port()), notify=notify):
        notify.wait_for("READY=1")
        assert notify.messages(WATCHDOG_S).count("WATCHDOG=1") >= 2
    notify.close()


def test_a_long_interval_is_idle_not_hung(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path / "notify"))
    camera = 'trigger = "interval"\ninterval_s = 60.0'
    with daemon(write_settings(tmp_path, free_port(), camera=camera), notify=notify):
        notify.wait_for("READY=1")
        assert notify.messages(2 * WATCHDOG_S).count("WATCHDOG=1") >= 3
    notify.close()


# What hangs, and what the reason then names. Each works for some results first.
AFTER_TEN = (
    "import itertools; calls = itertools.count()\ndef hang(): time.sleep(600) if next(calls) > 10 else None\n"
)
HANGS = {
    "interpreter": (
        f"{AFTER_TEN}from edge.daemon.pipeline import Pipeline; classify = Pipeline.classify\n"
        "Pipeline.classify = lambda self, frame: (hang(), classify(self, frame))[1]",
        "in the classifier",
    ),
    "camera": (
        f"{AFTER_TEN}from edge.cameras.backends.simulator import SimulatorCamera as C; read = C.read\n"
        "C.read = lambda self: (hang(), read(self))[1]",
        "waiting for a frame",
    ),
    "publisher": (
        f"{AFTER_TEN}import edge.mqtt.publisher as m; m.HANG_S = 1.0; turn = m.Delivery.turn\n"
        "m.Delivery.turn = lambda *a, **k: (hang(), turn(*a, **k))[1]",
        "publisher: its thread hangs",
    ),
    "disk": (
        f"{AFTER_TEN}import edge.outbox.queue as o; o.HANG_S = 1.0; commit = o.OutboxFile.commit\n"
        "o.OutboxFile.commit = lambda *a: (hang(), commit(*a))[1]",
        "outbox",
    ),
}


@pytest.mark.parametrize("part", HANGS)
def test_a_part_that_hangs_stops_the_feeding_and_is_the_reason_kept(part: str, tmp_path: Path) -> None:
    prelude, reason = HANGS[part]
    notify = NotifySocket(str(tmp_path / "notify"))
    with daemon(write_settings(tmp_path, free_port()), notify=notify, prelude=prelude) as process:
        notify.wait_for("READY=1")
        deadline = time.monotonic() + 40
        while "WATCHDOG=1" in notify.messages(WATCHDOG_S):
            assert time.monotonic() < deadline, "a hung part still looks alive"
        assert reason in eventually(lambda: runs(tmp_path)["fault"])
        process.kill()  # as systemd does
    (tmp_path / "state" / "last-stop").write_text("watchdog dumped ABRT\n")
    with daemon(write_settings(tmp_path, free_port())):
        restarts = eventually(
            lambda: runs(tmp_path)["restarts"] if runs(tmp_path)["restarts"]["count"] else None, 30
        )
    notify.close()
    assert restarts["count"] == 1
    assert restarts["reason"].startswith("watchdog dumped ABRT; no completed work for ")
    assert reason in restarts["reason"]
