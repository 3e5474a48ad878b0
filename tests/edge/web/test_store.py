"""Which cells the page offers for review, against the rule written out in Python."""

import asyncio
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import msgspec
import pytest
from broker import make_record
from postgres import PostgreSQL

pytest.importorskip("sqlalchemy")
pytest.importorskip("starlette")
from edge.logger import reviews
from edge.logger.stores.sinks import open_sink
from edge.records import ImageReference, Record, rfc3339
from edge.settings import Settings
from edge.web import store as store_file
from edge.web.app import following
from edge.web.command import make_parts
from edge.web.store import PAGE, Store

PEOPLE = ("ann", "ben", "cem")


def filled(target: str, cells: int, seed: int) -> tuple[Store, list[Record], list[reviews.Review]]:
    """A database with reviews drawn at random, and what is in it; every tenth cell has no picture."""
    chance = random.Random(seed)
    records = []
    for number in range(cells):
        probability = chance.choice([chance.random(), 0.25, 0.75])  # some are equally doubtful
        record = make_record(
            sequence=number + 1,
            specimen=f"S{number % 3}",
            probabilities={"ALL": probability, "HEM": 1 - probability},
        )
        image = ImageReference(name=f"{record.id}.png", sha256="0" * 64) if number % 10 else None
        records.append(msgspec.structs.replace(record, image=image))
    sink = open_sink(target)
    sink.store(records, [])
    sink.close()
    store, said = Store(target), list[reviews.Review]()
    for moment in range(2 * cells):
        review = reviews.Review(
            cell=chance.choice(records).id,
            label=chance.choice(["ALL", "HEM", "cannot say", reviews.UNDONE]),
            reviewer=chance.choice(PEOPLE),
            at=rfc3339(moment * 10**9),
        )
        said.append(review)
        reviews.add(store.results(), review)
    return store, records, said


def reviewed(said: list[reviews.Review], reviewer: str = "") -> set[str]:
    """The cells that this person, or anybody, has reviewed without taking the newest of it back."""
    newest = {
        (review.cell, review.reviewer): review.label for review in said if reviewer in ("", review.reviewer)
    }
    return {cell for (cell, _), label in newest.items() if label != reviews.UNDONE}


def wanted(
    records: list[Record], said: list[reviews.Review], specimen: str, reviewer: str, second: bool
) -> list[str]:
    """The ids of all cells that may be offered, the most doubtful first."""
    somebody, this_person = reviewed(said), reviewed(said, reviewer)
    offered = [
        record
        for record in records
        if record.image is not None
        and specimen in ("", record.specimen)
        and (record.id in somebody and record.id not in this_person if second else record.id not in somebody)
    ]
    return [
        record.id
        for record in sorted(offered, key=lambda record: (abs(record.probabilities["ALL"] - 0.5), record.id))
    ]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with PostgreSQL() as server:
        yield server.address


@pytest.mark.parametrize(
    ("kind", "looked_at"), [("sqlite", 10), ("sqlite", 200), ("sqlite", 1000), ("postgresql", 100)]
)
def test_the_most_doubtful_cells_are_offered_however_many_are_looked_at_first(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, looked_at: int
) -> None:
    monkeypatch.setattr(store_file, "FIRST_LOOKED_AT", looked_at)
    target = f"sqlite:///{tmp_path}/results.db" if kind == "sqlite" else request.getfixturevalue(kind)
    store, records, said = filled(target, cells=300, seed=looked_at)
    lengths = set()
    for reviewer, specimen, second in product((*PEOPLE, "new"), ("", "S1"), (False, True)):
        right = wanted(records, said, specimen, reviewer, second)
        offered = store.to_review(specimen, "doubt", reviewer, second)
        assert [record.id for record in offered] == right[:PAGE]
        drawn = {record.id for record in store.to_review(specimen, "random", reviewer, second)}
        assert len(drawn) == min(PAGE, len(right))
        assert drawn <= set(right)
        lengths.add(len(right) > PAGE)
    store.close()
    assert lengths == {True, False}


def test_without_reviews_there_is_nothing_for_a_second_look(tmp_path: Path) -> None:
    store, records, _said = filled(f"sqlite:///{tmp_path}/results.db", cells=20, seed=1)
    with store.results().engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE reviews")  # as in the database of an early logger
    store.close()
    assert store.to_review("", "doubt", "ann", True) == []
    first = store.to_review("", "doubt", "ann", False)
    assert [record.id for record in first] == wanted(records, [], "", "ann", False)
    store.close()


def test_what_is_read_before_the_first_question_gives_the_same_answers(tmp_path: Path) -> None:
    store, records, _said = filled(f"sqlite:///{tmp_path}/results.db", cells=30, seed=2)
    sha256 = records[0].model.sha256
    asked, classes = store.checked(sha256), store.classes()
    store.close()
    other = Store(f"sqlite:///{tmp_path}/results.db")
    other.prepare()
    assert (other.checked(sha256), other.classes()) == (asked, classes)
    assert asked["reviewed"] > 0
    other.close()


def test_a_database_that_is_not_there_yet_is_found_later(tmp_path: Path) -> None:
    later = Store(f"sqlite:///{tmp_path}/results.db")
    later.prepare()
    store, records, _said = filled(f"sqlite:///{tmp_path}/results.db", cells=10, seed=3)
    store.close()
    assert later.cell(records[0].id) == records[0]
    later.close()


def test_a_page_that_starts_opens_its_database_before_anybody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, records, _said = filled(f"sqlite:///{tmp_path}/results.db", cells=10, seed=4)
    store.close()
    settings, opened = Settings(), threading.Event()
    web = msgspec.structs.replace(settings.web, database=f"sqlite:///{tmp_path}/results.db")
    parts = make_parts(msgspec.structs.replace(settings, web=web), "127.0.0.1:0", loopback=True)
    prepare = parts.store.prepare
    monkeypatch.setattr(parts.store, "prepare", lambda: (prepare(), opened.set()))

    async def serve() -> None:
        async with following(parts):
            assert await asyncio.to_thread(opened.wait, 20)
            assert sum(total["results"] for total in parts.store.specimens()) == len(records)

    with ThreadPoolExecutor(1) as other:  # a browser's loop may run in this thread
        other.submit(asyncio.run, serve()).result(60)
