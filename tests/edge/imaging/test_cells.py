"""Cells from the finder's output: each has its box and outline, touching ones are apart, small ones are left out."""

import numpy as np
import pytest

from edge.imaging.field import maps as m
from edge.imaging.field.cells import Maps, find_cells, length_px, red_cell_px
from edge.imaging.field.cutout import area_px, centroid, cut_out, mask_of
from edge.imaging.field.lamp import find_lamp

SIDE = 160
RED_PX = 20.0


def steps(length: float) -> float:
    return float(m.STEPS_AN_OCTAVE * np.log2(length / m.SIZE_BASE_PX))


def drawn_maps(cells: list[tuple[float, float, float]]) -> Maps:
    """What a perfect finder says of round cells: x, y and width in its picture."""
    side = SIDE // m.CELL_STRIDE_PX
    said = np.full((side, side, m.CHANNELS), -6.0, np.float32)
    said[..., m.SCALE] = steps(RED_PX)
    fine_y, fine_x = (np.mgrid[0 : 2 * side, 0 : 2 * side] + 0.5) * m.MASK_STRIDE_PX
    fine = np.full((2 * side, 2 * side), -6.0, np.float32)
    for x, y, width in cells:
        fine[np.hypot(fine_x - x, fine_y - y) < width / 2] = 6.0
        row, column = int(y / m.CELL_STRIDE_PX), int(x / m.CELL_STRIDE_PX)
        said[row, column, m.HEAT] = 4.0
        said[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2, m.SIZE[0] : m.SIZE[1]] = steps(width)
    said[..., : m.MASK[1]] = fine.reshape(side, 2, side, 2).transpose(0, 2, 1, 3).reshape(side, side, 4)
    return said


def test_a_cell_has_its_box_its_area_and_its_middle() -> None:
    (cell,) = find_cells(drawn_maps([(70, 90, 40)]), SIDE, SIDE, 0.5, RED_PX)
    assert np.allclose(cell.box, (100, 140, 80, 80), atol=6)
    assert np.allclose(centroid(cell), (140, 180), atol=3)
    assert area_px(cell) == pytest.approx(np.pi * 40**2, rel=0.08)
    assert not cell.at_edge
    assert cell.certainty > 0.95


def test_touching_cells_are_apart() -> None:
    cells = find_cells(drawn_maps([(60, 80, 36), (95, 80, 36), (78, 110, 36)]), SIDE, SIDE, 1.0, RED_PX)
    assert len(cells) == 3
    for cell in cells:
        assert cell.box[2] == pytest.approx(36, abs=6)
        assert area_px(cell) == pytest.approx(np.pi * 18**2, rel=0.15)


def test_two_peaks_in_one_cell_are_one_cell() -> None:
    said = drawn_maps([(70, 90, 44)])
    row, column = 90 // m.CELL_STRIDE_PX, 70 // m.CELL_STRIDE_PX
    said[row, column + 2, m.HEAT] = 3.0
    said[row, column + 2, m.SIZE[0] : m.SIZE[1]] = steps(44)
    assert len(find_cells(said, SIDE, SIDE, 1.0, RED_PX)) == 1


def test_cells_at_the_border_are_marked_and_small_ones_left_out() -> None:
    cells = find_cells(drawn_maps([(4, 80, 36), (80, 80, 10)]), SIDE, SIDE, 1.0, RED_PX)
    assert [cell.at_edge for cell in cells] == [True]


def test_what_lies_in_the_padding_is_no_cell() -> None:
    assert not find_cells(drawn_maps([(140, 140, 30)]), 120, 120, 1.0, RED_PX)


def test_an_empty_field_has_no_cells_but_a_scale() -> None:
    said = drawn_maps([])
    assert not find_cells(said, SIDE, SIDE, 1.0, RED_PX)
    assert red_cell_px(said) == pytest.approx(RED_PX, rel=0.01)
    assert length_px(steps(33.0)) == pytest.approx(33.0)


def test_a_cut_out_cell_is_centred_and_its_mask_has_its_size() -> None:
    (cell,) = find_cells(drawn_maps([(70, 90, 40)]), SIDE, SIDE, 0.5, RED_PX)
    field = np.full((320, 320, 3), 210, np.uint8)
    crop, mask, room = cut_out(field, find_lamp(field), cell, 160, 128)
    rows, columns = np.nonzero(mask)
    assert crop.shape == (128, 128, 3)
    assert (rows.mean(), columns.mean()) == pytest.approx((63.5, 63.5), abs=1.5)
    assert mask.sum() == pytest.approx(np.pi * 32**2, rel=0.1)
    assert room.sum() >= mask.sum()


def test_beyond_the_border_a_cut_out_is_black() -> None:
    (cell,) = find_cells(drawn_maps([(10, 90, 40)]), SIDE, SIDE, 1.0, RED_PX)
    field = np.full((160, 160, 3), 210, np.uint8)
    crop, _, _ = cut_out(field, find_lamp(field), cell, 100, 50)
    assert crop[:, :5].max() == 0
    assert crop[25, 40].min() > 150


def test_masks_keep_their_place_at_every_size() -> None:
    (cell,) = find_cells(drawn_maps([(70, 90, 40)]), SIDE, SIDE, 0.5, RED_PX)
    for size in (64, 128, 224):
        mask = mask_of(cell, 0, 0, 320, size)
        rows, columns = np.nonzero(mask)
        assert (columns.mean() + 0.5) * 320 / size == pytest.approx(140, abs=3)
        assert (rows.mean() + 0.5) * 320 / size == pytest.approx(180, abs=3)


def test_a_piece_apart_counts_neither_in_the_area_nor_as_outside() -> None:
    said = drawn_maps([(70, 90, 44)])
    said[:, 17:18, : m.MASK[1]] = -1.0
    (cell,) = find_cells(said, SIDE, SIDE, 1.0, RED_PX)
    whole = np.pi * 22**2
    assert area_px(cell) < 0.8 * whole
    covered = (cell.outline > -2.5).mean() * cell.outline_box[2] * cell.outline_box[3]
    assert covered == pytest.approx(whole, rel=0.15)
