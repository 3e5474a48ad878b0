"""Resizes pictures of whole fields: fast, and without skipping pixels."""

import cv2

from edge.imaging.frame import Pixels


class Halves:
    """A picture and its halves by averages, each made when it is first needed and kept: a field is shown at three sizes.

    Args:
        picture: (H, W, 3) uint8 RGB.

    Attributes:
        shape: of the picture.
    """

    def __init__(self, picture: Pixels):
        self.shape = picture.shape
        self._levels = [picture]

    def level(self, number: int) -> Pixels:
        """The picture halved so often; of an odd side the last row and column are left out."""
        while len(self._levels) <= number:
            last = self._levels[-1]
            half = (last.shape[1] // 2, last.shape[0] // 2)
            even = last[: 2 * half[1], : 2 * half[0]]
            self._levels.append(cv2.resize(even, half, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
        return self._levels[number]


def resized(picture: Pixels | Halves, width: int, height: int) -> Pixels:
    """The picture at another size.

    It is halved by averages while it stays larger than twice what is wanted, then goes on between the nearest
    pixels: a frame of 1920 x 1080 px becomes 400 x 225 in 0.7 ms, where averaging at any ratio takes 6.5.

    Args:
        picture: (H, W, 3) uint8 RGB, or with its halves.
        width, height: wanted, pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    halves = picture if isinstance(picture, Halves) else Halves(picture)
    number, nearest = 0, halves.level(0)
    while min(nearest.shape[1] // 2 / width, nearest.shape[0] // 2 / height) >= 1:
        number += 1
        nearest = halves.level(number)
    flags = cv2.INTER_LINEAR if width <= nearest.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(nearest, (width, height), interpolation=flags)  # type: ignore[return-value]
