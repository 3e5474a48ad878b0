"""Is there a cell in the crop, is it in focus, is it well exposed: cheap metrics that are stored in each record.

The limits come from `python -m train.studies.quality`, which blurs, darkens and brightens real cells and draws the
curves of docs/cameras.md.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.imaging.frame import Pixels
from edge.imaging.settings import QualitySettings as QualitySettings

COARSE_SIDE = 28
"""Cell and light are measured on a picture that is halved by averages until its side has this many pixels, or less
than twice as many: this removes sensor noise."""

STAINED_LEVELS = 20
"""By how much blue is above green where Giemsa's and Leishman's violet is: a nucleus has 50 to 110 levels, a
red cell -10, an empty field about 0."""

MIN_CONTRAST_LEVELS = 3.0
"""Less is no cell. Of the 3715 C-NMC images at hand the lowest has 4.4, the median 10.6; an evenly lit
empty frame has 0.7 with noise of sigma 10 levels, 1.3 with 20, and 2.9 where 5 % of its light is lost
to one side."""


DEFAULT = QualitySettings()


def measure(crop: Pixels, half: Pixels | None = None) -> dict[str, float]:
    """Quality metrics of a crop that need no knowledge of the cell.

    Green is what a Giemsa or Leishman stain absorbs most.

    Args:
        crop: (S, S, 3) uint8 RGB, as `edge.imaging.preprocess.prepare` gives it.
        half: `halved(crop)`, where the caller has it.

    Returns:
        contrast: standard deviation of the coarse green plane, in levels (0…255).
        stained: share of the crop's middle (half its side) that is stained violet, 0…1.
        brightness: mean over what is stained, anywhere in the crop, of the brightest channel; levels.
        sharpness: of green, the detail at half the crop's size over that at a quarter, as the ratio of two
            Laplacians. Blur removes the finer detail first, so the ratio falls as focus is lost, whatever the cell or
            its contrast. No unit; 2 for pure noise.
        saturated: share of the pixels with any channel at 255, 0…1.
    """
    half = halved(crop) if half is None else half  # halving by averages is by far the cheapest
    quarter = halved(half)
    red, green, blue = cv2.split(quarter)
    sharpness = _sharpness(cv2.extractChannel(half, 1), green)
    while red.shape[0] >= 2 * COARSE_SIDE:
        red, green, blue = halved(red), halved(green), halved(blue)
    stained = cv2.threshold(cv2.subtract(blue, green), STAINED_LEVELS, 255, cv2.THRESH_BINARY)[1]
    margin = green.shape[0] // 4
    middle = stained[margin : green.shape[0] - margin, margin : green.shape[0] - margin]
    brightest = cv2.max(cv2.max(red, green), blue)
    return {
        "contrast": round(float(cv2.meanStdDev(green)[1][0, 0]), 2),
        "stained": round(cv2.countNonZero(middle) / middle.size, 4),
        "brightness": round(cv2.mean(brightest, stained)[0], 1),
        "sharpness": round(sharpness, 4),
        "saturated": round(_saturated(crop), 5),
    }


def halved(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A square picture at half its side, each pixel the mean of four."""
    side = max(picture.shape[0] // 2, 1)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _sharpness(half: npt.NDArray[Any], quarter: npt.NDArray[Any]) -> float:
    """Of the two pictures' green planes."""
    fine, coarse = (
        cv2.norm(cv2.Laplacian(plane, cv2.CV_16S), cv2.NORM_L2) / plane.shape[0] for plane in (half, quarter)
    )
    return fine / coarse if coarse > 0 else 0.0


def _saturated(crop: Pixels) -> float:
    if cv2.norm(crop, cv2.NORM_INF) < 255:  # nearly every crop: no pixel has to be counted
        return 0.0
    red, green, blue = cv2.split(crop)
    brightest = cv2.max(cv2.max(red, green), blue)
    return int(np.count_nonzero(brightest == 255)) / brightest.size


def reasons(quality: dict[str, float], limits: QualitySettings = DEFAULT) -> list[str]:
    """Why a person should look at this crop instead; empty if nothing is wrong with it."""
    if quality["contrast"] < MIN_CONTRAST_LEVELS:
        return ["no cell: the crop is empty"]
    found = []
    if quality["stained"] < limits.min_stained:
        found.append(f"no cell in the middle: {quality['stained']:.1%} of it is stained")
    elif quality["brightness"] < limits.min_brightness:
        found.append(f"underexposed: the cell has {quality['brightness']:.0f} levels")
    elif quality["brightness"] > limits.max_brightness:
        found.append(f"overexposed: the cell has {quality['brightness']:.0f} levels")
    if quality["saturated"] > limits.max_saturated:
        found.append(f"overexposed: {quality['saturated']:.0%} of the crop is saturated")
    if quality["sharpness"] < limits.min_sharpness:
        found.append(f"out of focus: sharpness {quality['sharpness']:.2f}, under {limits.min_sharpness:g}")
    return found
