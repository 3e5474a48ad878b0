"""Threads and callbacks that fail are seen."""

import logging

import pytest

from edge.host import threads


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
