"""Threads and callbacks that do not die unseen: what fails at their top is logged, counted and can be asked for."""

import logging
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)

_dead: dict[str, str] = {}
_failing: dict[str, str] = {}
_lock = threading.Lock()


def start(name: str, work: Callable[[], None]) -> threading.Thread:
    """Run `work` in a daemon thread of this name; if it raises, the thread is logged and listed as dead.

    Raises:
        RuntimeError: the machine gives no further thread.
    """

    def run() -> None:
        with _lock:
            _dead.pop(name, None)
        try:
            work()
        except Exception as error:  # the thread's top
            log.exception("thread %s ended by an unexpected error", name)
            with _lock:
                _dead[name] = f"{type(error).__name__}: {error}"

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def dead() -> dict[str, str]:
    """The threads that an unexpected error has ended and that were not started anew: name and error."""
    with _lock:
        return dict(_dead)


def guarded(name: str, callback: Callable[P, R]) -> Callable[P, R | None]:
    """The callback as a library may call it: an exception is logged (the same once until it works again), never
    raised into the library's own thread.

    Args:
        name: what the log calls it.
        callback: anything; where it raises, None is returned in its place.
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
            return None
        with _lock:
            recovered = _failing.pop(name, None)
        if recovered:
            log.info("%s: works again", name)
        return answer

    return call
