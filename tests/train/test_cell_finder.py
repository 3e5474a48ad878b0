"""The finder's training: what is composed, what is asked of the network, and what the box reads back of it."""

import numpy as np
import pytest

pytest.importorskip("tensorflow")

from edge.imaging.field.cells import Maps, find_cells
from edge.imaging.field.maps import CHANNELS, HEAT, MASK, SCALE, SIZE
from train.fields.compose import SIDE_PX, Composer, Cut
from train.fields.finder import finder, targets
from train.fields.fit_finder import _mirrored
from train.fields.kind import MARGIN_LOGITS, thresholds
from train.fields.kind_cells import KindCell
from train.fields.labelled import Field, Listed, outline, side_of
from train.fields.lymphocytes import lymphocytes


def fields() -> list[Field]:
    """Round dark cells on white: 60 px wide, red cells 40 px."""
    made = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        picture = np.full((300, 300, 3), 220, np.uint8)
        cells = np.zeros((300, 300), np.int16)
        y, x = np.mgrid[0:300, 0:300]
        for number, (cx, cy) in enumerate(((80, 90), (200, 180)), 1):
            inside = np.hypot(x - cx, y - cy) < 30
            picture[inside] = (90, 50, 120)
            cells[inside] = number
        noisy = np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
        made.append(Field(noisy, cells, 40.0, "smears"))
    return made


def perfect(wanted: np.ndarray) -> Maps:  # type: ignore[type-arg]
    """What a network says that has learnt the targets to the letter."""
    said = np.zeros((*wanted.shape[:2], CHANNELS), np.float32)
    said[..., MASK[0] : MASK[1]] = np.where(wanted[..., :4] > 0.5, 6, -6)
    said[..., HEAT] = np.where(wanted[..., 5] > 0.999, 5, -5)
    said[..., SIZE[0] : SIZE[1]] = wanted[..., 7:9]
    said[..., SCALE] = wanted[..., 10]
    return said


def test_the_box_reads_the_cells_of_a_training_picture_back() -> None:
    composer = Composer(fields(), [], seed=1)
    seen = 0
    for _ in range(20):
        composed = composer.compose()
        wanted = targets(composed)
        cells = find_cells(perfect(wanted), SIDE_PX, SIDE_PX, 1.0, composed.red_px)
        asked = int((wanted[..., 5] > 0.999).sum())
        assert len(cells) <= asked
        seen += len(cells)
        for cell in cells:
            x, y = (min(int(v), SIDE_PX - 1) for v in cell.centre)
            assert composed.cells[max(0, y - 6) : y + 6, max(0, x - 6) : x + 6].any()
    assert seen > 20


def test_mirrored_targets_belong_to_the_mirrored_picture() -> None:
    composed = Composer(fields(), [], seed=2).compose()
    wanted = targets(composed).astype(np.float16)
    pictures, turned = _mirrored(composed.picture[None], wanted[None], np.random.default_rng(3))
    same = np.array_equal(pictures[0], composed.picture)
    dark = pictures[0].min(axis=2) < 130
    fine = turned[0][..., :4].reshape(40, 40, 2, 2).transpose(0, 2, 1, 3).reshape(80, 80) > 0.5
    before = composed.picture.min(axis=2) < 130
    fine_before = wanted[..., :4].reshape(40, 40, 2, 2).transpose(0, 2, 1, 3).reshape(80, 80) > 0.5
    agree, agreed = (dark[::2, ::2] == fine).mean(), (before[::2, ::2] == fine_before).mean()
    assert same or agree == pytest.approx(agreed, abs=0.05)


def test_the_network_takes_any_size_and_gives_a_quarter() -> None:
    said = finder()(np.zeros((1, 96, 160, 3), np.float32)).numpy()
    assert said.shape == (1, 24, 40, CHANNELS)


def test_pasted_cells_are_labelled() -> None:
    cut = Cut(np.full((40, 40, 3), 60, np.uint8), np.ones((40, 40), np.uint8), 40.0, "cnmc")
    composer = Composer(fields(), [cut], seed=4)
    assert any((composer.compose().cells >= 20_000).any() for _ in range(20))


def test_an_outline_fits_its_box() -> None:
    field = fields()[0]
    mask, outlined = outline(field.picture, (50.0, 60.0, 110.0, 120.0))
    assert outlined
    assert mask.shape == (60, 60)
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.06)


def test_the_last_fifth_of_a_set_validates() -> None:
    listed = [Listed(__file__, f"{n:03d}", "pbc", [], [], []) for n in range(10)]  # type: ignore[arg-type]
    assert [field.name for field in side_of(listed, "validation")] == ["008", "009"]
    assert len(side_of(listed, "train")) == 8


def test_the_threshold_keeps_the_share_of_lymphoid_cells() -> None:
    empty = np.zeros((1, 1, 3), np.uint8)
    cells = [KindCell(empty, empty[..., 0], 0.0, "typed", "lymphocyte") for _ in range(100)]
    cells += [KindCell(empty, empty[..., 0], 1.0, "typed", "monocyte")]
    logits = np.array([*range(100), 500], np.float32)
    assert thresholds(logits, cells, 0.97)["lymphoid_below"] == pytest.approx(96 + MARGIN_LOGITS)


def test_no_cell_is_both_a_lymphocyte_and_unsure() -> None:
    for name in ("raabin", "pbc"):
        yes, unsure = lymphocytes(name)
        assert len(yes) > 50
        assert not yes & unsure
