"""Threads and callbacks that fail are seen."""

import logging
import threading

import pytest
from broker import eventually

from edge.host import threads
from edge.host.backoff import Backoff


def test_a_thread_that_dies_is_logged_and_listed_until_it_is_started_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails() -> None:
        raise KeyError("gone")

    threads.start("worker", fails).join(5)
    assert threads.dead() == {"worker": "KeyError: 'gone'"}
    assert "thread worker ended" in caplog.text
    threads.start("worker", lambda: None).join(5)
    assert threads.dead() == {}


def test_a_callback_that_fails_is_logged_once_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    call = threads.guarded("on_message", lambda value: 1 / value)
    assert [call(0), call(0), call(2)] == [None, None, 0.5]
    assert caplog.text.count("unexpected error") == 1
    assert "works again" in caplog.text


def test_a_kept_thread_is_run_again_until_it_returns_and_is_listed_meanwhile(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "FIRST_PAUSE_S", 0.3)
    errors: list[BaseException] = [RuntimeError("second"), SystemExit(3)]
    done = threading.Event()

    def work() -> None:
        if errors:
            raise errors.pop()
        done.set()

    thread = threads.keep("kept", work, threading.Event())
    eventually(lambda: "SystemExit: 3" in threads.fault(), 5)
    assert done.wait(10)
    thread.join(5)
    assert threads.dead() == {} and threads.fault() == ""
    assert caplog.text.count("thread kept ended by an unexpected error; it is started again in") == 2


def test_a_kept_thread_that_is_stopped_is_not_run_again() -> None:
    stopping = threading.Event()
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise OSError("always")

    thread = threads.keep("stopped", work, stopping)
    eventually(lambda: calls, 5)
    stopping.set()
    thread.join(5)
    assert not thread.is_alive() and len(calls) == 1 and threads.dead() == {}


def test_who_asks_is_told_of_a_callback_that_failed() -> None:
    failed: list[Exception] = []
    call = threads.guarded("on_connect", lambda: 1 / 0, failed.append)
    assert call() is None
    assert isinstance(failed[0], ZeroDivisionError)


def test_delays_double_to_the_last_and_begin_anew() -> None:
    backoff = Backoff(1.0, 5.0)
    for longest in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert 0.7 * longest <= backoff.next_s() <= longest
    backoff.reset()
    assert backoff.next_s() <= 1.0
    assert 2.1 <= backoff.next_s(least_s=3.0) <= 3.0
    assert backoff.next_s() >= 3.5
