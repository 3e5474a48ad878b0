"""Crop and resize: what training, export and the box must agree on to the last level."""

import cv2
import numpy as np
import pytest

from edge.errors import InputError
from edge.imaging.preprocess import Geometry, centre_crop, prepare


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(450, 450), (451, 457), (449, 640), (1080, 1920), (448, 448)])
def test_the_crop_is_the_middle_and_an_odd_pixel_stays_at_bottom_and_right(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    top, left = (size[0] - 448) // 2, (size[1] - 448) // 2
    np.testing.assert_array_equal(centre_crop(pixels, 448), pixels[top : top + 448, left : left + 448])


@pytest.mark.parametrize("size", [(3, 5), (447, 448), (100, 700), (700, 101)])
def test_a_smaller_frame_is_centred_on_black(size: tuple[int, int]) -> None:
    pixels = np.maximum(noise(*size), 1)
    crop = centre_crop(pixels, 448)
    assert crop.shape == (448, 448, 3)
    rows, columns = np.flatnonzero(crop.any((1, 2))), np.flatnonzero(crop.any((0, 2)))
    for found, side in ((rows, size[0]), (columns, size[1])):
        assert len(found) == min(side, 448)
        before, after = found[0], 447 - found[-1]
        assert after - before in (0, 1)
    inside = centre_crop(pixels, min(*size, 448))
    top = left = (448 - inside.shape[0]) // 2
    np.testing.assert_array_equal(crop[top : top + len(inside), left : left + len(inside)], inside)


def test_half_the_size_is_the_exact_average_of_each_four_pixels() -> None:
    pixels = noise(448, 448)
    exact = pixels.astype(float).reshape(224, 2, 224, 2, 3).mean((1, 3))
    small = prepare(pixels, Geometry())
    assert small.shape == (224, 224, 3) and small.dtype == np.uint8
    assert np.abs(small - exact).max() <= 0.5


def test_a_picture_keeps_its_orientation_and_its_colours() -> None:
    pixels = np.zeros((450, 450, 3), np.uint8)
    pixels[:225, :225] = (250, 0, 0)  # red at the top left, green at the top right, blue at the bottom left
    pixels[:225, 225:] = (0, 250, 0)
    pixels[225:, :225] = (0, 0, 250)
    small = prepare(pixels, Geometry())
    assert small[50, 50].tolist() == [250, 0, 0]
    assert small[50, 170].tolist() == [0, 250, 0]
    assert small[170, 50].tolist() == [0, 0, 250]
    assert small[170, 170].tolist() == [0, 0, 0]


@pytest.mark.parametrize("interpolation", ["area", "linear"])
@pytest.mark.parametrize("size", [(450, 450), (37, 51), (480, 640)])
def test_writing_into_a_given_buffer_gives_the_same(size: tuple[int, int], interpolation: str) -> None:
    geometry = Geometry(crop=448, size=96, interpolation=interpolation)  # type: ignore[arg-type]
    pixels, out = noise(*size), np.full((96, 96, 3), 7, np.uint8)
    before = pixels.copy()
    assert np.shares_memory(prepare(pixels, geometry, out=out), out)
    np.testing.assert_array_equal(out, prepare(pixels, geometry))
    np.testing.assert_array_equal(pixels, before)


def test_a_frame_that_is_turned_or_mirrored_in_memory_is_read_as_it_looks() -> None:
    pixels = noise(480, 640)
    for view in (pixels[::-1], pixels[:, ::-1], pixels[..., ::-1], pixels.transpose(1, 0, 2)):
        np.testing.assert_array_equal(prepare(view, Geometry()), prepare(view.copy(), Geometry()))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((450, 450, 3), np.float32),
        np.zeros((450, 450, 3), np.uint16),
        np.zeros((450, 450), np.uint8),
        np.zeros((450, 450, 4), np.uint8),
        np.zeros((1, 450, 450, 3), np.uint8),
        np.zeros((0, 450, 3), np.uint8),
    ],
)
def test_anything_but_three_channels_of_bytes_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"the frame is .*give \(height, width, 3\) uint8 RGB"):
        prepare(wrong, Geometry())


@pytest.mark.parametrize("sides", [(0, 224), (448, -1), (448, 10_000)])
def test_a_geometry_out_of_range_is_refused(sides: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not between 1 and 8192 pixels"):
        Geometry(crop=sides[0], size=sides[1])


def test_a_bgr_picture_looked_at_as_rgb_is_only_turned_when_it_is_small() -> None:
    bgr = noise(480, 640)
    rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    for geometry in (Geometry(), Geometry(crop=320), Geometry(crop=500, interpolation="linear")):
        np.testing.assert_array_equal(prepare(bgr[..., ::-1], geometry), prepare(rgb, geometry))


@pytest.mark.parametrize("crop", [448, 896, 1080, 1081, 1792])
def test_linear_skips_no_pixel_of_a_large_crop(crop: int) -> None:
    """A lone bright pixel shows, wherever it is, as strongly as its share of the area."""
    geometry = Geometry(crop=crop, size=224, interpolation="linear")
    for row, column in ((crop // 2, crop // 2), (crop // 3, crop // 5), (5, crop - 7)):
        pixels = np.zeros((crop, crop, 3), np.uint8)
        pixels[row - 3 : row + 4, column - 3 : column + 4] = 255
        share = prepare(pixels, geometry).sum() / (3 * 255) * (crop / 224) ** 2
        assert share == pytest.approx(49, rel=0.25)


def test_linear_at_twice_the_size_is_the_same_as_area() -> None:
    pixels = noise(640, 640)
    for crop, size in ((448, 224), (320, 160), (256, 128)):
        one, other = Geometry(crop, size, "linear"), Geometry(crop, size, "area")
        np.testing.assert_array_equal(prepare(pixels, one), prepare(pixels, other))


def test_linear_is_near_to_area_on_a_smooth_picture() -> None:
    picture = cv2.GaussianBlur(noise(1080, 1080), (0, 0), 12).astype(float)
    pixels = np.clip((picture - 127) * 8 + 127, 0, 255).astype(np.uint8)
    for crop in (320, 1080):
        small = [prepare(pixels, Geometry(crop, 224, way)).astype(int) for way in ("linear", "area")]  # type: ignore[arg-type]
        assert np.abs(small[0] - small[1]).mean() < 1.5
