"""Work that is done ahead keeps its order and its faults in their places, and ends when nobody wants it."""

import threading
from collections.abc import Iterator

import pytest

from edge.host.ahead import WORKERS, ahead


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    first_may_end = threading.Event()

    def make(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(30)
        if number == WORKERS - 1:  # made beside the first one, which waits for it
            first_may_end.set()
        return number * number

    assert list(ahead(make, range(50))) == [number * number for number in range(50)]


def test_what_one_item_raises_comes_in_its_place() -> None:
    results = ahead(lambda number: 1 // number, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_few_items_are_taken_before_they_are_used() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = ahead(str, items())
    assert next(results) == "0"
    assert len(taken) == WORKERS + 1
    results.close()
    assert len(taken) == WORKERS + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_no_items_give_no_results() -> None:
    assert list(ahead(str, [])) == []
