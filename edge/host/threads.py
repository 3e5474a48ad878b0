"""Threads and callbacks whose failures are seen: an exception at their top is logged, counted and can be queried."""

import logging
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from edge.host.backoff import Backoff

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

# Between two runs of work that fails: doubles from the first to the last.
FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0

_dead: dict[str, str] = {}
_failing: dict[str, str] = {}
_lock = threading.Lock()


def start(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run `work` in a daemon thread of this name; if it raises, the thread is logged and listed as dead.

    Raises:
        RuntimeError: the system cannot start another thread.
    """

    def run() -> None:
        _runs(name)
        try:
            work()
        except BaseException as error:  # the thread's top; a SystemExit would end a thread silently
            _failed(name, error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def keep(name: str, work: Callable[[], None], stopping: threading.Event) -> threading.Thread:
    """Run `work` in a daemon thread until it returns. If it raises, that is logged and it is run again after a
    pause; during the pause the thread is listed as dead.

    Args:
        name: of the thread.
        work: returns when it is done; it may begin at any time.
        stopping: ends the pause; `work` is not run again once it is set.

    Raises:
        RuntimeError: the system cannot start another thread.
    """
    pause = Backoff(FIRST_PAUSE_S, LAST_PAUSE_S)

    def run() -> None:
        while True:
            _runs(name)
            try:
                work()
                return
            except BaseException as error:  # the thread's top
                delay_s = pause.next_s()
                _failed(name, error, f"; it is started again in {delay_s:.1f} s")
            if stopping.wait(delay_s):
                _runs(name)  # it is no longer needed
                return

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def dead() -> dict[str, str]:
    """The threads that an unexpected error has ended and that were not started again: name and error."""
    with _lock:
        return dict(_dead)


def fault() -> str:
    """The dead threads in one line, or ""; for the watchdog."""
    return "; ".join(f"thread {name} has ended: {error}" for name, error in dead().items())


def guarded(
    name: str, callback: Callable[P, R], failed: Callable[[Exception], None] | None = None
) -> Callable[P, R | None]:
    """The callback as a library may call it: an exception is logged (the same once until it works again), never
    raised into the library's own thread.

    Args:
        name: what the log calls it.
        callback: anything; if it raises, None is returned in its place.
        failed: called with what it raised; must not raise.
    """

    @wraps(callback)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            answer = callback(*args, **kwargs)
        except Exception as error:  # a library's callback
            said = f"{type(error).__name__}: {error}"
            with _lock:
                news = _failing.get(name) != said
                _failing[name] = said
            if news:
                log.exception("%s: unexpected error; this one is skipped", name)
            if failed is not None:
                failed(error)
            return None
        with _lock:
            recovered = _failing.pop(name, None)
        if recovered:
            log.info("%s: works again", name)
        return answer

    return call


def _runs(name: str) -> None:
    with _lock:
        _dead.pop(name, None)


def _failed(name: str, error: BaseException, then: str = "") -> None:
    with _lock:
        _dead[name] = f"{type(error).__name__}: {error}"
    log.error("thread %s ended by an unexpected error%s", name, then, exc_info=error)
