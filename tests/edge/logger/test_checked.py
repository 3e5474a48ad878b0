"""How many cells a laboratory has given a class: the same number however it was asked before, and nothing read twice."""

import random
from collections import Counter
from pathlib import Path

import pytest
from broker import make_record

pytest.importorskip("sqlalchemy")
from edge.logger import reviews
from edge.logger.checked import Checked
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.records import ModelReference, rfc3339

MODELS = [ModelReference(name="m", sha256=digit * 64) for digit in "01"]


@pytest.fixture
def results(tmp_path: Path):
    """A database of twelve cells, which two models have judged."""
    target = f"sqlite:///{tmp_path}/results.db"
    sink = open_sink(target)
    sink.store([make_record(sequence=n, model=MODELS[n % 2]) for n in range(1, 13)], [])
    sink.close()
    opened = Results(target)
    yield opened
    opened.close()


def cells(results: Results) -> dict[str, str]:
    """The cells' ids and the hashes of their models."""
    return {record.id: record.model.sha256 for record in results.records()}


def counted(results: Results) -> dict[str, int]:
    """The same numbers by the rule for one list of all reviews."""
    models = cells(results)
    newest = reviews.newest(reviews.all_of(results))
    return dict(
        Counter(models[cell] for cell, review in newest.items() if review.label not in reviews.OTHER_LABELS)
    )


def add(results: Results, cell: str, label: str, reviewer: str = "a", second: int = 0) -> None:
    reviews.add(
        results, reviews.Review(cell=cell, label=label, reviewer=reviewer, at=rfc3339(second * 10**9))
    )


def test_the_number_is_that_of_all_reviews_after_each_one(results: Results) -> None:
    chance, known, ids = random.Random(7), Checked(), [*cells(results), "not-here"]
    seen = set()
    for n in range(300):
        label = chance.choice(["ALL", "HEM", "other", "cannot say", reviews.UNDONE])
        add(results, chance.choice(ids), label, chance.choice("abc"), n // 3)
        if chance.random() < 0.5:
            assert known.counts(results) == Checked().counts(results) == counted(results)
            seen.add(tuple(sorted(counted(results).items())))
    assert len(seen) > 10


def test_what_was_read_is_not_read_again(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, known, taken = list(cells(results)), Checked(), []
    for n, cell in enumerate(ids):
        add(results, cell, "ALL", second=n)
    known.counts(results)
    take = Checked._take
    monkeypatch.setattr(Checked, "_take", lambda self, row: (taken.append(row.cell), take(self, row)))
    known.counts(results)
    assert taken == []
    add(results, ids[0], "HEM", "b", 100)
    assert sum(known.counts(results).values()) == 12
    assert taken == [ids[-1], ids[0]]  # the last one once more: others may have come in its moment


def test_after_an_erasure_and_after_reviews_of_an_earlier_time_all_are_read(results: Results) -> None:
    ids, known = list(cells(results)), Checked()
    for n, cell in enumerate(ids):
        add(results, cell, "ALL", second=10 + n)
    assert sum(known.counts(results).values()) == 12
    with results.engine.begin() as connection:
        table = results.tables.reviews
        connection.execute(table.delete().where(table.c.cell.in_(ids[:3])))
    assert sum(known.counts(results).values()) == 9
    for cell in ids[:2]:
        add(results, cell, "HEM", second=1)
    assert sum(known.counts(results).values()) == 11 == sum(counted(results).values())
