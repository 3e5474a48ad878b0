"""Count once: a walk over a large drawn smear meets every cell, and counts none twice."""

import cv2
import numpy as np
import pytest

from edge.bench.fields import drawn_field
from edge.imaging.field.registration import KEPT_FIELDS, Walk, _likeness, look_at, shift_between
from edge.imaging.frame import Pixels

WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def smear() -> Pixels:
    """A drawn smear of 1280 x 960 px; its red cells are 40 px wide."""
    return drawn_field(1280, 960, 40, 40.0, seed=3)


def cut(smear: Pixels, x: int, y: int, light: float = 1.0, seed: int = 0) -> Pixels:
    field = smear[y : y + HEIGHT, x : x + WIDTH] * light
    noise = np.random.default_rng(seed).normal(0, 3, field.shape)
    return np.clip(field + noise, 0, 255).astype(np.uint8)


def test_shifts_up_to_a_small_overlap_are_measured(smear: Pixels) -> None:
    random = np.random.default_rng(1)
    for seed in range(60):
        x, y = int(random.integers(0, 1280 - WIDTH)), int(random.integers(0, 960 - HEIGHT))
        dx, dy = int(random.integers(-200, 201)), int(random.integers(-140, 141))
        if not (0 <= x + dx <= 1280 - WIDTH and 0 <= y + dy <= 960 - HEIGHT):
            continue
        one = look_at(cut(smear, x, y))
        other = look_at(cut(smear, x + dx, y + dy, random.uniform(0.93, 1.07), seed))
        shift = shift_between(one, other)
        assert shift is not None
        assert np.hypot(shift[0] / one.factor - dx, shift[1] / one.factor - dy) < 6


def test_strangers_are_not_joined(smear: Pixels) -> None:
    others = drawn_field(1280, 960, 40, 40.0, seed=4)
    for number in range(12):
        x, y = 80 * number, 60 * number
        assert shift_between(look_at(cut(smear, x, y)), look_at(cut(others, 900 - x, 700 - y))) is None


def test_the_likeness_is_the_correlation_of_the_shared_part(smear: Pixels) -> None:
    one, other = (look_at(cut(smear, x, 60, seed=x)).grey for x in (100, 140))
    height, width = one.shape
    for x, y in [(0, 0), (16, 0), (-30, 11), (25, -40), (-7, -3)]:
        a = one[max(y, 0) : height + min(y, 0), max(x, 0) : width + min(x, 0)]
        b = other[max(-y, 0) : height + min(-y, 0), max(-x, 0) : width + min(-x, 0)]
        assert _likeness(one, other, x, y) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-4)


def test_fields_without_anything_in_them_are_not_joined() -> None:
    for level in (0, 97, 255):
        flat = look_at(np.full((HEIGHT, WIDTH, 3), level, np.uint8))
        assert shift_between(flat, flat) is None


def test_a_walk_counts_each_cell_once(smear: Pixels) -> None:
    random = np.random.default_rng(2)
    truth = [(float(x), float(y)) for x in range(60, 1240, 90) for y in range(50, 920, 80)]
    walk, counted, seen = Walk(), 0, set()
    x = y = 0
    for step in range(60):
        field = cut(smear, x, y, random.uniform(0.95, 1.05), step)
        placed = walk.place(field, "slide")
        inside = [t for t in truth if 20 < t[0] - x < WIDTH - 20 and 20 < t[1] - y < HEIGHT - 20]
        centres = [(t[0] - x + random.normal(0, 1), t[1] - y + random.normal(0, 1)) for t in inside]
        counted += sum(walk.new(placed, centres, [60.0] * len(centres)))
        seen.update(inside)
        x = int(np.clip(x + (180 if (step // 6) % 2 == 0 else -180), 0, 1280 - WIDTH))
        if step % 6 == 5:
            y = int(np.clip(y + 120, 0, 960 - HEIGHT))
    assert len(seen) > 80
    assert counted == len(seen)


def test_a_field_that_has_not_moved_gives_nothing_new(smear: Pixels) -> None:
    walk = Walk()
    first = walk.place(cut(smear, 100, 100, seed=1), "slide")
    assert walk.new(first, [(50.0, 50.0)], [60.0]) == [True]
    again = walk.place(cut(smear, 100, 100, 1.05, seed=2), "slide")
    assert not again.moved
    assert walk.new(again, [(51.0, 49.5)], [60.0]) == [False]


def test_another_specimen_begins_anew(smear: Pixels) -> None:
    walk = Walk()
    assert walk.new(walk.place(cut(smear, 100, 100), "one"), [(50.0, 50.0)], [60.0]) == [True]
    assert walk.new(walk.place(cut(smear, 100, 100), "two"), [(50.0, 50.0)], [60.0]) == [True]


def test_places_that_no_field_can_lead_back_to_are_forgotten(smear: Pixels) -> None:
    """A box whose specimens have no name walks for ever: what it remembers must not grow for ever."""
    walk, seen = Walk(), 0
    for number in range(3 * KEPT_FIELDS):
        stranger = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        placed = walk.place(cv2.blur(stranger, (31, 31)), "")
        seen += sum(walk.new(placed, [(50.0, 50.0), (200.0, 100.0)], [30.0, 30.0]))
    assert seen > 3 * KEPT_FIELDS  # they were places of their own
    assert sum(map(len, walk._cells.values())) <= 2 * KEPT_FIELDS
    placed = walk.place(cut(smear, 0, 0), "")
    assert walk.new(placed, [(50.0, 50.0)], [30.0]) == [True]
    placed = walk.place(cut(smear, 40, 0), "")
    assert walk.new(placed, [(10.0, 50.0)], [30.0]) == [False]  # and what lies beside is known
