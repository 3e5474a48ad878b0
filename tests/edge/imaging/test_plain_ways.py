"""What is done in a fast way for each field gives what the plain way gives, on real fields."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.field import cells as cells_module
from edge.imaging.field import fieldquality
from edge.imaging.field.cells import REACH, find_cells, length_px, red_cell_px
from edge.imaging.field.cutout import ROOM_LOGIT, area_px, blackened, centroid, cut_out, mask_of
from edge.imaging.field.lamp import MAX_GAIN, WHITE_LEVELS, Lamp, find_lamp
from edge.imaging.field.maps import HEAT, MASK, MASK_STRIDE_PX, SCALE, SIZE
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.model.fields import kind_picture
from edge.model.finder import FIND_RED_PX, CellFinder
from edge.model.network import Network, read_network, shipped_network

FIELDS = sorted((Path(__file__).resolve().parents[3] / "samples" / "fields").glob("*.jpg"))


@pytest.fixture(scope="module")
def finder() -> CellFinder:
    return CellFinder(read_network(shipped_network("cells"), "cells"))


@pytest.fixture(scope="module", params=FIELDS, ids=lambda file: file.stem)
def field(request: pytest.FixtureRequest) -> Pixels:
    return read_image(request.param)


def plain_gain(lamp: Lamp, left: float, top: float, right: float, bottom: float) -> np.ndarray:  # type: ignore[type-arg]
    x = (np.linspace(left, right, 8) / lamp.width * 2 - 1)[None, :]
    y = (np.linspace(top, bottom, 8) / lamp.height * 2 - 1)[:, None]
    terms = [np.broadcast_to(term, (8, 8)) for term in (1, x, y, x * x, x * y, y * y)]
    return np.minimum(WHITE_LEVELS / np.exp(np.stack(terms, axis=-1) @ lamp.terms), MAX_GAIN)


def test_the_gain_is_the_lamps_surface(field: Pixels) -> None:
    lamp = find_lamp(field)
    height, width = field.shape[:2]
    for part in (
        (0, 0, width, height),
        (-20.5, 7, 130, 151.25),
        (width - 60, height - 90, width + 40, height),
    ):
        np.testing.assert_allclose(lamp.gain(*part), plain_gain(lamp, *part), rtol=1e-6)


def test_the_ruler_is_the_median_of_what_is_lit(field: Pixels, finder: CellFinder) -> None:
    maps, lit, _, _ = finder._look(finder._ruler, field, find_lamp(field), 0.5)
    assert red_cell_px(maps, lit) == float(length_px(float(np.median(maps[..., SCALE][lit]))))
    assert red_cell_px(maps) == float(length_px(float(np.median(maps[..., SCALE]))))


def test_each_pixel_belongs_to_the_nearest_cell(field: Pixels, finder: CellFinder) -> None:
    look = finder.look(field, find_lamp(field))
    maps, _, width, height = finder._look(finder._network, field, find_lamp(field), FIND_RED_PX / look.red_px)
    centres = cells_module._apart(cells_module._peaks(maps, width, height, -2.0))
    shape = (maps.shape[0] * 2, maps.shape[1] * 2)
    y, x = (np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5) * MASK_STRIDE_PX
    ways = np.array(
        [((x - c.x) / c.width * 2) ** 2 + ((y - c.y) / c.height * 2) ** 2 for c in centres]
        + [np.full(shape, REACH**2)]
    )
    ways[-1] = np.nextafter(ways[-1], 0)  # beyond the reach nothing is owned
    owner = ways.argmin(axis=0)
    reaches = [cells_module._reach(centre, *shape) for centre in centres]
    for number, (left, top, right, bottom) in enumerate(reaches):
        expected = owner[top:bottom, left:right] == number
        np.testing.assert_array_equal(cells_module._owned(number, centres, reaches), expected)


def test_centres_have_the_size_of_the_maps(field: Pixels, finder: CellFinder) -> None:
    maps, _, width, height = finder._look(finder._network, field, find_lamp(field), 0.3)
    found = cells_module._peaks(maps, width, height, -0.45)
    heat = maps[..., HEAT]
    assert len(found) <= int((heat > -0.45).sum())
    for centre in found:
        place = maps[int(centre.y // 4), int(centre.x // 4)]
        assert centre.logit == place[HEAT]
        np.testing.assert_allclose((centre.width, centre.height), length_px(place[SIZE[0] : SIZE[1]]))


def test_the_planes_of_the_mask_stand_side_by_side(field: Pixels, finder: CellFinder) -> None:
    maps, _, _, _ = finder._look(finder._ruler, field, find_lamp(field), 0.4)
    rows, columns = maps.shape[:2]
    planes = maps[..., MASK[0] : MASK[1]].reshape(rows, columns, 2, 2).transpose(0, 2, 1, 3)
    expected = planes.reshape(2 * rows, 2 * columns) - cells_module.MASK_LOGIT
    np.testing.assert_array_equal(cells_module._fine_mask(maps), expected)


def test_a_cells_area_and_middle_are_those_of_its_outline(field: Pixels, finder: CellFinder) -> None:
    lamp = find_lamp(field)
    look = finder.look(field, lamp)
    for cell in finder.find(field, lamp, look):
        left, top, width, height = cell.outline_box
        y, x = np.nonzero(cell.outline > 0)
        assert area_px(cell) == pytest.approx(len(x) / cell.outline.size * width * height)
        middle = (
            (x.mean() + 0.5) * width / cell.outline.shape[1],
            (y.mean() + 0.5) * height / cell.outline.shape[0],
        )
        assert centroid(cell) == pytest.approx((left + middle[0], top + middle[1]))


def test_a_picture_for_the_gate_is_the_plain_warp(field: Pixels) -> None:
    crop = np.ascontiguousarray(field[40:168, 60:188])
    mask = np.zeros(crop.shape[:2], np.uint8)
    cv2.ellipse(mask, (61, 66), (40, 33), 20, 0, 360, 1, cv2.FILLED)
    y, x = np.nonzero(mask)
    factor = 55.0 / np.sqrt(len(x) * 4 / np.pi)
    matrix = np.array([[factor, 0, 39.5 - x.mean() * factor], [0, factor, 39.5 - y.mean() * factor]])
    plain = cv2.warpAffine(crop * mask[..., None], matrix, (80, 80), flags=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(blackened(crop, mask), crop * mask[..., None])
    np.testing.assert_array_equal(kind_picture(crop, mask), plain)


def test_a_network_gets_pixels_less_128_and_gives_real_numbers(field: Pixels) -> None:
    network = Network(read_network(shipped_network("kind"), "kind"))
    picture = np.ascontiguousarray(field[20:100, 30:110])[None]
    got = network.run(picture)
    interpreter = network._interpreter
    interpreter.set_tensor(network._input, (picture.astype(np.int16) - 128).astype(np.int8))
    interpreter.invoke()
    output = network.manifest.output
    expected = (interpreter.get_tensor(network._output).astype(np.float32) - output.zero_point) * output.scale
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("levels, expected", [((254, 255, 254), "overexposed"), ((255, 255, 200), "empty")])
def test_a_field_is_overexposed_if_all_channels_are_full(levels: tuple[int, int, int], expected: str) -> None:
    (reason,) = fieldquality.reasons(np.full((64, 96, 3), levels, np.uint8))
    assert reason.startswith(expected)


def test_without_a_centre_there_is_no_cell(finder: CellFinder) -> None:
    field = np.full((240, 320, 3), 220, np.uint8)
    maps, _, width, height = finder._look(finder._network, field, find_lamp(field), 0.4)
    assert find_cells(maps, width, height, 0.4, 16.0) == []


def test_the_gates_mask_is_the_outline_with_room(field: Pixels, finder: CellFinder) -> None:
    lamp = find_lamp(field)
    look = finder.look(field, lamp)
    side = round(2.2 * look.red_px)
    for cell in finder.find(field, lamp, look):
        _, _, room = cut_out(field, lamp, cell, side, 128)
        x, y = centroid(cell)
        plain = mask_of(cell, round(x - side / 2), round(y - side / 2), side, 128, ROOM_LOGIT)
        assert (room & plain).sum() >= 0.97 * (room | plain).sum()
