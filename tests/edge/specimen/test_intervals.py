"""Counts and how sure they are, against published values and SciPy."""

import pytest

from edge.specimen.counting import estimate
from edge.specimen.intervals import clopper_pearson, rogan_gladen


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(5, 100, 1.6, 11.3), (10, 200, 2.4, 9.0), (25, 500, 3.3, 7.3), (0, 200, 0.0, 1.8)],
)
def test_the_limits_are_those_that_are_published(count: int, total: int, low: float, high: float) -> None:
    lower, upper = clopper_pearson(count, total)
    assert (round(100 * lower, 1), round(100 * upper, 1)) == (low, high)


def test_the_limits_are_those_of_the_beta_distribution() -> None:
    beta = pytest.importorskip("scipy.stats").beta
    for total in (1, 7, 200, 5000):
        for count in {0, 1, total // 3, total - 1, total}:
            lower, upper = clopper_pearson(count, total)
            assert lower == pytest.approx(
                0 if count == 0 else beta.ppf(0.025, count, total - count + 1), abs=1e-9
            )
            assert upper == pytest.approx(
                1 if count == total else beta.ppf(0.975, count + 1, total - count), abs=1e-9
            )


@pytest.mark.parametrize(("count", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_no_share_is_refused(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(count, total)


def test_a_model_of_95_percent_shows_5_percent_blasts_where_there_are_none() -> None:
    assert rogan_gladen(0.05, 0.95, 0.95) == pytest.approx(0)
    assert rogan_gladen(0.95, 0.95, 0.95) == pytest.approx(1)
    assert rogan_gladen(0.01, 0.95, 0.95) == 0  # never below
    assert rogan_gladen(0.3, 0.5, 0.5) is None


def test_blasts_per_100_white_cells_leave_referred_cells_out_and_take_other_cells_in() -> None:
    found = estimate({"ALL": 10, "HEM": 90, "refer": 55, "other": 100}, 0.95, 0.95)
    assert found.white_cells == 200
    assert found.percent == 5
    assert found.interval_percent is not None
    assert [round(limit, 1) for limit in found.interval_percent] == [2.4, 9.0]
    assert found.adjusted_percent == pytest.approx(100 * (0.05 / 0.9) * 0.5)


def test_nothing_counted_says_nothing() -> None:
    assert estimate(dict.fromkeys(("ALL", "HEM", "refer", "other"), 0), 0.9, 0.9) == (0, 0, None, None, None)
    assert estimate({"ALL": 0, "HEM": 0, "refer": 3, "other": 4}, 0.9, 0.9).adjusted_percent is None
