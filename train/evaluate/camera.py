"""The camera suite: the same cells as if taken by another camera, light or lens.

Alterations are made on the picture as it comes from the camera, before it is cropped and resized; only noise is added
to the network's own pixels, as in the paper, where no averaging removes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge.host.terminal.progress import progress
from edge.imaging.files import read_image
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import Geometry, prepare
from train.data.dataset import Cell
from train.evaluate.metrics import THRESHOLD, number, weighted_auc
from train.evaluate.predictions import positives
from train.fit import shots
from train.fit.augment import add_noise

Change = Callable[[Pixels], Pixels]
Score = Callable[[Pixels], npt.NDArray[np.float64]]
"""From (N, size, size, 3) uint8 RGB to (N,) probabilities of ALL."""

DAYLIGHT_K = 5500.0
"""Colour temperature that the suite starts from: a white LED of a microscope."""

_SRGB_GAMMA = 2.2
"""Of the pixels; light adds and scales before it."""

_PLANCK_NM = np.array([611.4, 549.1, 464.2])
"""Main wavelengths of the sRGB primaries, red, green, blue."""

_BLOCK = 128
"""Cells whose pictures are altered at once: under all conditions at 224 pixels, 0.4 GB."""

DRAWS = 8
"""Draws of the noise that a condition's figures are the mean of: from one draw to the next the AUC of 193 cells moves by 0.01
at sigma 10."""

_SECOND_RADIATION_CONSTANT = 1.4388e7
"""nm · K, of Planck's law."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the suite.

    Attributes:
        name: as in tables and in `evaluate --json`.
        change: of the camera's picture, (H, W, 3) uint8 RGB to the same shape; None for none.
        noise_sigma_levels: put on the network's pixels, standard deviation in 8-bit levels.
    """

    name: str
    change: Change | None = None
    noise_sigma_levels: float = 0.0


def toned(gamma: float = 1.0, factors: Sequence[float] = (1.0, 1.0, 1.0)) -> Change:
    """Exponent on the pixels of 0 to 1, then a factor on each channel, red first."""
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip(np.rint(levels[:, np.newaxis] * np.asarray(factors)), 0, 255).astype(np.uint8)
    return lambda pixels: cv2.LUT(pixels, table[np.newaxis])  # type: ignore[return-value]


def light_of(kelvin: float) -> Change:
    """The light of a black body so hot in place of one of `DAYLIGHT_K`, green unchanged."""

    def radiance(temperature: float) -> npt.NDArray[np.float64]:
        value: npt.NDArray[np.float64] = 1 / np.expm1(_SECOND_RADIATION_CONSTANT / (_PLANCK_NM * temperature))
        return value

    ratio = radiance(kelvin) / radiance(DAYLIGHT_K)
    return toned(factors=tuple((ratio / ratio[1]) ** (1 / _SRGB_GAMMA)))


def blurred(sigma_px: float) -> Change:
    """Out of focus: Gaussian, pixels of the camera's picture."""
    return lambda pixels: cv2.GaussianBlur(pixels, (0, 0), sigma_px)  # type: ignore[return-value]


def sized(factor: float) -> Change:
    """Every cell scaled by a factor, with the picture's size and centre kept."""

    def change(pixels: Pixels) -> Pixels:
        height, width = pixels.shape[:2]
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, factor)
        return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]

    return change


def compressed(quality: int) -> Change:
    """Through JPEG with 4:2:0 colours and back, as USB cameras send."""
    return partial(shots.compressed, quality=quality)


def coarse_colours(pixels: Pixels) -> Pixels:
    """4:2:0: the two colour channels at half the width and height."""
    height, width = pixels.shape[:2]
    channels = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    half = cv2.resize(channels[..., 1:], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    channels[..., 1:] = cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(channels, cv2.COLOR_YCrCb2RGB)  # type: ignore[return-value]


def one_after_the_other(*changes: Change) -> Change:
    """Several alterations of one picture."""

    def change(pixels: Pixels) -> Pixels:
        for each in changes:
            pixels = each(pixels)
        return pixels

    return change


_WARM, _COLD = toned(factors=(1.05, 1.0, 0.95)), toned(factors=(0.95, 1.0, 1.05))

CLEAN = "clean"

CONDITIONS: tuple[Condition, ...] = (
    Condition(CLEAN),
    Condition("brightness 0.9", toned(factors=(0.9, 0.9, 0.9))),
    Condition("brightness 1.1", toned(factors=(1.1, 1.1, 1.1))),
    Condition("gamma 0.9", toned(0.9)),
    Condition("gamma 1.1", toned(1.1)),
    Condition("red +5 %, blue -5 %", _WARM),
    Condition("red -5 %, blue +5 %", _COLD),
    Condition("light -500 K", light_of(DAYLIGHT_K - 500)),
    Condition("light +500 K", light_of(DAYLIGHT_K + 500)),
    Condition("JPEG 90", compressed(90)),
    Condition("JPEG 75", compressed(75)),
    Condition("JPEG 50", compressed(50)),
    Condition("blur 0.8 px", blurred(0.8)),
    Condition("blur 1.5 px", blurred(1.5)),
    Condition("cell size 0.9", sized(0.9)),
    Condition("cell size 1.1", sized(1.1)),
    Condition("noise 2", noise_sigma_levels=2),
    Condition("noise 5", noise_sigma_levels=5),
    Condition("noise 8", noise_sigma_levels=8),
    Condition("noise 10", noise_sigma_levels=10),
    Condition("colours 4:2:0", coarse_colours),
    Condition("red -5 %, blue +5 % and JPEG 75", one_after_the_other(_COLD, compressed(75))),
    Condition("blur 0.8 px and noise 5", blurred(0.8), 5),
)
"""What `evaluate --camera` tries; the last two are pairs, of a USB camera and of a phone through the eyepiece."""


Figures = dict[str, float | None]


def crops_of(
    data: Path,
    paths: Sequence[str],
    geometry: Geometry,
    conditions: Sequence[Condition] = CONDITIONS,
    seed: int = 0,
) -> dict[str, Pixels]:
    """The crops of some images under every condition; every image is read once.

    Args:
        data: the folder that the paths are relative to.
        paths: of N images.
        seed: of the noise.

    Returns:
        Of each condition's name, (N, size, size, 3) uint8 RGB.
    """
    crops = _without_noise(data, paths, geometry, conditions)
    return {each.name: _noisy(crops[each.name], each, seed, 0) for each in conditions}


def _without_noise(
    data: Path, paths: Sequence[str], geometry: Geometry, conditions: Sequence[Condition]
) -> dict[str, Pixels]:
    shape = (len(paths), geometry.size, geometry.size, 3)
    crops = {condition.name: np.empty(shape, np.uint8) for condition in conditions}
    for index, path in enumerate(paths):
        picture = read_image(data / path)
        for condition in conditions:
            changed = condition.change(picture) if condition.change else picture
            prepare(changed, geometry, out=crops[condition.name][index])
    return crops


def _noisy(crops: Pixels, condition: Condition, seed: int, draw: int) -> Pixels:
    return add_noise(crops, condition.noise_sigma_levels, np.random.default_rng([seed, draw]))


def judge(
    score: Callable[[Pixels], npt.NDArray[np.float64]],
    geometry: Geometry,
    data: Path,
    cells: Sequence[Cell],
    conditions: Sequence[Condition] = CONDITIONS,
) -> dict[str, Figures]:
    """Metrics of some cells under every condition, at the model's own threshold.

    Args:
        score: from (N, size, size, 3) uint8 RGB to (N,) probabilities of ALL.
        data: the folder that the cells' paths are relative to.

    Returns:
        Of each condition's name: auc, sensitivity and specificity, over cells; None without the class for it.
    """
    return judge_several([score], geometry, data, cells, conditions)[0]


def judge_several(
    scores: Sequence[Score],
    geometry: Geometry,
    data: Path,
    cells: Sequence[Cell],
    conditions: Sequence[Condition] = CONDITIONS,
) -> list[dict[str, Figures]]:
    """As `judge`, for models of the same geometry: every picture is read and altered once."""
    is_all = positives(cells)
    blocks = [cells[start : start + _BLOCK] for start in range(0, len(cells), _BLOCK)]
    draws = {each.name: DRAWS if each.noise_sigma_levels else 1 for each in conditions}
    found: list[dict[str, list[list[npt.NDArray[np.float64]]]]] = [
        {name: [[] for _ in range(count)] for name, count in draws.items()} for _ in scores
    ]
    with progress("camera suite", len(cells)) as (step, _):
        for seed, block in enumerate(blocks):
            crops = _without_noise(data, [cell.path for cell in block], geometry, conditions)
            for condition in conditions:
                for draw in range(draws[condition.name]):
                    pixels = _noisy(crops[condition.name], condition, seed, draw)
                    for score, each in zip(scores, found, strict=True):
                        each[condition.name][draw].append(score(pixels))
            step(times=len(block))
    return [
        {
            name: _mean([_figures(is_all, np.concatenate(parts)) for parts in drawn])
            for name, drawn in each.items()
        }
        for each in found
    ]


def _mean(drawn: Sequence[Figures]) -> Figures:
    """Each figure's mean over the draws of the noise."""
    return {
        name: None if drawn[0][name] is None else float(np.mean([one[name] for one in drawn]))
        for name in drawn[0]
    }


def _figures(is_all: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> Figures:
    called = scores >= THRESHOLD
    return {
        "auc": number(float(weighted_auc(is_all, scores, np.ones((1, len(scores))))[0])),
        "sensitivity": float(called[is_all].mean()) if is_all.any() else None,
        "specificity": float((~called[~is_all]).mean()) if not is_all.all() else None,
    }


def worst(results: Mapping[str, Figures], figure: str = "auc") -> str:
    """The condition with the lowest of a figure; the first of several. "" where it is nowhere defined."""
    known = {name: figures[figure] for name, figures in results.items() if figures[figure] is not None}
    return min(known, key=lambda name: known[name] or 0.0) if known else ""


def text(results: Mapping[str, Figures], cells: int, title: str = "camera suite") -> str:
    """The suite for a terminal, the worst named."""
    lines = [f"{f'{title}, {cells} cells':32}    AUC  sensitivity  specificity"]
    for name, figures in results.items():
        shown = ("–" if value is None else f"{value:.3f}" for value in figures.values())
        auc, sensitivity, specificity = shown
        lines.append(f"{name:32} {auc:>6}  {sensitivity:>11}  {specificity:>11}")
    worsts = [
        f"{figure} {name}"
        for figure in ("auc", "sensitivity", "specificity")
        if (name := worst(results, figure))
    ]
    return "\n".join([*lines, f"worst: {'; '.join(worsts)}"])
