"""The simulator camera: what it draws, its optics, its pace."""

import itertools
import threading
import time
import typing

import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from edge.cameras.backends.simulator import SimulatorCamera, SimulatorSettings, draw
from edge.cameras.base import Camera
from edge.errors import InputError, LeukoscopeError
from edge.imaging.frame import Pixels

FAULTLESS = SimulatorSettings(blur_px=0.0, gradient=0.0, noise_sigma_levels=0.0)
FAULTLESS_FIELD = msgspec.structs.replace(FAULTLESS, kind="field")
CELLS = range(24)

# Over C-NMC 2019, training fold 1: the lowest 10th and the highest 90th percentile of the two kinds of
# cell, for the median colour of the nucleus and the diameter; widened by a tenth for single cells.
NUCLEUS_RGB_RANGE = ((46, 84), (17, 35), (56, 93))
DIAMETER_RANGE_PX = (138, 272)


def with_optics(settings: SimulatorSettings = FAULTLESS, **changes: float) -> SimulatorSettings:
    return msgspec.structs.replace(settings, **changes)


def cell_mask(pixels: Pixels) -> npt.NDArray[np.bool_]:
    return typing.cast("npt.NDArray[np.bool_]", pixels.max(axis=2) > 30)


def sharpness(pixels: Pixels) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("kind", ["cell", "field"])
def test_the_same_seed_and_frame_give_the_same_pixels_whatever_was_drawn_before(
    kind: typing.Literal["cell", "field"],
) -> None:
    settings = SimulatorSettings(kind=kind, seed=7)
    alone = draw(settings, 450, 450, 5)
    for number in range(5):
        draw(settings, 450, 450, number)
    assert np.array_equal(draw(settings, 450, 450, 5), alone)
    camera = SimulatorCamera(settings, 450, 450, fps=0)
    camera.open()
    frames = [camera.read() for _ in range(6)]
    assert np.array_equal(frames[5].pixels, alone)


@pytest.mark.parametrize("kind", ["cell", "field"])
def test_another_seed_or_frame_shows_other_cells(kind: typing.Literal["cell", "field"]) -> None:
    settings = with_optics(FAULTLESS_FIELD if kind == "field" else FAULTLESS, seed=7)
    picture = draw(settings, 450, 450, 5).astype(int)
    for other in (draw(with_optics(settings, seed=8), 450, 450, 5), draw(settings, 450, 450, 6)):
        assert np.abs(picture - other).mean() > 1.0


def test_other_optics_show_the_same_cell() -> None:
    sharp = cell_mask(draw(FAULTLESS, 450, 450, 0))
    faulty = cell_mask(draw(SimulatorSettings(), 450, 450, 0))
    assert (sharp ^ faulty).sum() < 0.02 * sharp.sum()


@pytest.mark.parametrize("number", CELLS)
def test_a_cell_is_one_piece_in_the_middle_of_pure_black_and_of_real_size(number: int) -> None:
    pixels = draw(FAULTLESS, 450, 450, number)
    mask = cell_mask(pixels)
    pieces, _, _, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    assert pieces == 2  # the background and the cell
    assert np.abs(centres[1] - 224.5).max() < 12
    diameter_px = 2 * np.sqrt(mask.sum() / np.pi)
    assert DIAMETER_RANGE_PX[0] < diameter_px < DIAMETER_RANGE_PX[1]
    around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    assert pixels[around].max() == 0
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert border.max() == 0


def test_cells_are_stained_as_real_ones_in_rgb_order() -> None:
    medians = []
    for number in CELLS:
        pixels = draw(FAULTLESS, 450, 450, number)
        inner = cv2.erode(cell_mask(pixels).astype(np.uint8), np.ones((51, 51), np.uint8)) > 0
        red, green, blue = np.median(pixels[inner], axis=0)
        assert blue > red > green + 20
        medians.append((red, green, blue))
    middle = np.median(medians, axis=0)
    for value, all_values, (low, high) in zip(
        middle, zip(*medians, strict=True), NUCLEUS_RGB_RANGE, strict=True
    ):
        assert low < value < high
        assert sum(low <= each <= high for each in all_values) >= 0.8 * len(CELLS)


def test_the_edge_of_a_cell_is_paler_than_its_nucleus() -> None:
    for number in CELLS:
        pixels = draw(FAULTLESS, 450, 450, number)
        depth = cv2.distanceTransform(cell_mask(pixels).astype(np.uint8), cv2.DIST_L2, 5)
        edge, nucleus = pixels[(depth > 1.5) & (depth < 4)], pixels[depth > 30]
        assert edge[:, 1].mean() > 1.2 * nucleus[:, 1].mean()


@pytest.mark.parametrize("settings", [FAULTLESS, FAULTLESS_FIELD], ids=["cell", "field"])
def test_more_blur_is_less_sharp(settings: SimulatorSettings) -> None:
    pictures = [draw(with_optics(settings, blur_px=blur), 450, 450, 1) for blur in (0.0, 0.6, 1.5, 5.0, 20.0)]
    # Beyond 1.5 px the Laplacian sees little more than the rounding to whole levels; Sobel's slope sees on.
    laplacian = [sharpness(pixels) for pixels in pictures[:3]]
    slope = [float((cv2.Sobel(pixels, cv2.CV_64F, 1, 0) ** 2).mean()) for pixels in pictures]
    for values in (laplacian, slope):
        assert all(after < 0.97 * before for before, after in itertools.pairwise(values))


def test_blur_spreads_the_cell_and_nothing_else() -> None:
    pixels = draw(with_optics(blur_px=6.0), 450, 450, 1)
    beyond_reach = (
        cv2.dilate(cell_mask(draw(FAULTLESS, 450, 450, 1)).astype(np.uint8), np.ones((41, 41))) == 0
    )
    assert pixels[beyond_reach].max() == 0


def test_the_gradient_takes_the_asked_part_of_the_brightness_at_the_right() -> None:
    even = draw(FAULTLESS_FIELD, 640, 480, 0).astype(float)
    uneven = draw(with_optics(FAULTLESS_FIELD, gradient=0.4), 640, 480, 0).astype(float)
    assert uneven[:, :20].mean() / even[:, :20].mean() == pytest.approx(1.0, abs=0.02)
    assert uneven[:, -20:].mean() / even[:, -20:].mean() == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("sigma_levels", [0.4, 2.0, 8.0])
def test_the_noise_is_as_strong_as_asked_and_differs_between_channels(sigma_levels: float) -> None:
    clean = draw(FAULTLESS_FIELD, 450, 450, 0).astype(float)
    noise = draw(with_optics(FAULTLESS_FIELD, noise_sigma_levels=sigma_levels), 450, 450, 0) - clean
    rounding = 1 / 12  # variance of rounding to whole levels
    assert noise.std() == pytest.approx(np.sqrt(sigma_levels**2 + rounding), rel=0.15)
    assert abs(noise.mean()) < 0.05
    if sigma_levels >= 1:
        assert abs(np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.02


@pytest.mark.parametrize("number", range(4))
def test_a_field_has_a_pale_background_red_cells_and_a_white_cell_in_the_middle(number: int) -> None:
    pixels = draw(FAULTLESS_FIELD, 1280, 960, number)
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    background = (pixels.min(axis=2) > 170) & (pixels.max(axis=2) - pixels.min(axis=2) < 25)
    red_cells = (red > green + 15) & (red > blue + 15)
    assert 0.2 < background.mean() < 0.9
    assert 0.05 < red_cells.mean() < 0.7
    *_, stats, _ = cv2.connectedComponentsWithStats(red_cells.astype(np.uint8))
    assert (stats[1:, cv2.CC_STAT_AREA] > 3000).sum() >= 5
    middle = pixels[460:500, 620:660].reshape(-1, 3).mean(axis=0)
    assert middle[2] > middle[0] > middle[1]
    assert middle[2] > middle[0] + 40


def test_a_field_shows_its_white_cell_at_the_size_of_a_segmented_one() -> None:
    for number in range(4):
        red, green, blue = (
            draw(FAULTLESS_FIELD, 1920, 1080, number)[..., channel].astype(int) for channel in range(3)
        )
        violet = ((blue > green + 30) & (blue > red + 15)).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(violet)
        area = stats[labels[540, 960], cv2.CC_STAT_AREA]
        assert labels[540, 960] != 0
        assert DIAMETER_RANGE_PX[0] * 0.85 < 2 * np.sqrt(area / np.pi) < DIAMETER_RANGE_PX[1]


@pytest.mark.parametrize("kind", ["cell", "field"])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 47), (450, 450), (640, 480), (1920, 1080)])
def test_any_size_has_a_stained_cell_in_the_middle(
    kind: typing.Literal["cell", "field"], width: int, height: int
) -> None:
    pixels = draw(SimulatorSettings(kind=kind), width, height, 0)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    y, x = height // 2, width // 2
    red, green, blue = pixels[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(axis=0)
    assert blue > green + 15
    assert red > green + 15


@pytest.mark.parametrize(("width", "height"), [(8, 8), (0, 100), (6000, 6000), (32, 4000)])
def test_a_size_that_cannot_be_drawn_is_refused_with_its_value(width: int, height: int) -> None:
    with pytest.raises(InputError, match=f"{width} x {height}"):
        SimulatorCamera(SimulatorSettings(), width, height, fps=10)


def test_frames_keep_the_rate() -> None:
    camera = SimulatorCamera(SimulatorSettings(), 64, 64, fps=25)
    camera.open()
    camera.read()
    stamps = [camera.read().monotonic_ns for _ in range(11)]
    camera.close()
    assert (stamps[-1] - stamps[0]) / 1e9 == pytest.approx(10 / 25, rel=0.25)


def test_a_reader_that_was_late_gets_no_burst() -> None:
    camera = SimulatorCamera(SimulatorSettings(), 64, 64, fps=10)
    camera.open()
    camera.read()
    time.sleep(0.5)
    stamps = [camera.read().monotonic_ns for _ in range(4)]
    camera.close()
    assert (stamps[-1] - stamps[0]) / 1e9 > 0.15


@pytest.mark.parametrize("fps", [0.0, -1.0])
def test_without_a_rate_frames_come_as_fast_as_they_are_drawn(fps: float) -> None:
    camera = SimulatorCamera(SimulatorSettings(), 64, 64, fps=fps)
    camera.open()
    started = time.monotonic()
    for _ in range(10):
        camera.read()
    assert time.monotonic() - started < 2.0


def test_close_ends_a_waiting_read() -> None:
    camera = SimulatorCamera(SimulatorSettings(), 64, 64, fps=0.02)  # one in 50 s
    camera.open()
    camera.read()
    closer = threading.Timer(0.2, camera.close)
    closer.start()
    started = time.monotonic()
    assert camera.read() is not None
    assert time.monotonic() - started < 5.0
    closer.join()


def test_it_is_read_between_open_and_close_only_and_goes_on_after_both() -> None:
    camera: Camera = SimulatorCamera(SimulatorSettings(), 64, 64, fps=0)
    assert camera.live
    with pytest.raises(LeukoscopeError, match="closed"):
        camera.read()
    camera.open()
    camera.read()
    camera.close()
    camera.close()
    with pytest.raises(LeukoscopeError, match="closed"):
        camera.read()
    camera.open()
    frame = camera.read()
    assert frame is not None
    assert frame.source.endswith("frame 1)")


def test_a_frame_says_that_it_is_simulated_and_when_it_was_taken() -> None:
    camera = SimulatorCamera(SimulatorSettings(kind="field", seed=3), 64, 48, fps=0)
    camera.open()
    before, before_monotonic = time.time_ns(), time.monotonic_ns()
    frame = camera.read()
    assert frame.source == "simulator (simulated field, seed 3, frame 0)"
    assert frame.specimen == "simulated"
    assert frame.pixels.shape == (48, 64, 3)
    assert before <= frame.captured_at_ns <= time.time_ns()
    assert before_monotonic <= frame.monotonic_ns <= time.monotonic_ns()
    assert camera.read().source == "simulator (simulated field, seed 3, frame 1)"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("blur_px", -0.1),
        ("blur_px", float("nan")),
        ("gradient", 1.01),
        ("gradient", -0.01),
        ("noise_sigma_levels", -1),
        ("noise_sigma_levels", float("inf")),
        ("seed", -1),
        ("kind", "bone marrow"),
        ("noise", 2),
    ],
)
def test_settings_out_of_range_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({key: value}, SimulatorSettings)


def test_the_noise_is_normal_and_the_same_wherever_a_row_lies() -> None:
    sigma_levels = 10.0
    grey = SimulatorSettings(kind="field", blur_px=0.0, gradient=0.0, noise_sigma_levels=sigma_levels)
    clean = draw(
        SimulatorSettings(kind="field", blur_px=0.0, gradient=0.0, noise_sigma_levels=0.0), 450, 450, 1
    )
    noise = draw(grey, 450, 450, 1).astype(float) - clean
    inside = (clean > 60) & (clean < 195)  # no value is cut off at 0 or 255
    assert abs(noise[inside].mean()) < 0.1
    assert noise[inside].std() == pytest.approx(sigma_levels, rel=0.02)
    within = (np.abs(noise[inside]) <= sigma_levels).mean()
    assert within == pytest.approx(0.70, abs=0.02)  # a normal number, rounded to a whole level
    rows = [noise[top : top + 16][inside[top : top + 16]].std() for top in range(0, 448, 16)]
    assert max(rows) / min(rows) < 1.2
