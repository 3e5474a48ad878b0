"""A frame: what every camera gives and every later stage reads."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        captured_at_ns: when it was taken, nanoseconds since the Unix epoch (wall clock, may jump).
        monotonic_ns: the same moment on the monotonic clock of this boot (never jumps).
        source: where it came from, as written into its record: a file's path, a device, or
            "simulator (simulated cells, …)".
        specimen: the slide or sample that it belongs to, or "" if that is not known.
    """

    pixels: Pixels
    captured_at_ns: int
    monotonic_ns: int
    source: str
    specimen: str = ""
