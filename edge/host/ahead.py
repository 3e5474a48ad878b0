"""Work that is done ahead of its use, in other threads: while one result is used, the next ones are made."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

WORKERS = 2
"""Threads, and results that wait for their use: not more, since a picture may take 200 MB."""


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made, None, None]:
    """`make` of every item, in their order, one or two of them ahead of the one that is used.

    It gains where `make` leaves Python's lock alone, as decoders of images do. Closing the iterator drops what was not
    begun and waits for what was.

    Args:
        make: called in other threads; what it raises is raised here in the place of its result, and ends the iteration.
        items: taken in the caller's thread.
    """
    pool = ThreadPoolExecutor(WORKERS, "ahead")
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
