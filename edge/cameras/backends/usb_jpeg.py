"""The JPEG pictures of a USB camera, checked for damage before they are decoded.

OpenCV would decode a damaged picture up to the damage. If told not to convert, it gives the data as the camera sent
it; `edge.imaging.decode` then refuses what is damaged. Some cameras send pictures that libjpeg-turbo finds fault
with although they look sound; those are left to OpenCV.
"""

from typing import Any

import cv2
import numpy as np

from edge.errors import ImageError
from edge.imaging.decode import decode
from edge.imaging.frame import Pixels

JPEG_FORMATS = frozenset({"MJPG", "JPEG"})
"""As V4L2 names them."""
TRIALS = 10
"""Pictures that are read when the camera opens: with none of them sound, the camera's pictures are not checked."""
START = b"\xff\xd8\xff"


def data_of(raw: Any) -> bytes:
    """The JPEG data of a frame that was not converted; b"" if it holds none.

    Args:
        raw: what OpenCV retrieved: the driver's buffer, uint8, with the picture at its beginning.
    """
    if not isinstance(raw, np.ndarray) or raw.dtype != np.uint8:
        return b""
    data = raw.tobytes()
    return data if data.startswith(START) else b""


def pictures_are_sound(capture: cv2.VideoCapture) -> bool:
    """Whether this opened camera gives JPEG data as it is, and sound; if so, it gives data from now on.

    Otherwise OpenCV decodes its pictures, as before.
    """
    if capture.set(cv2.CAP_PROP_CONVERT_RGB, 0):
        for _ in range(TRIALS):
            given, raw = capture.read()
            try:
                if given and (data := data_of(raw)):
                    decode(data)
                    return True
            except ImageError:  # this one; the next may be sound
                continue
    capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)
    return False


def checked(raw: Any) -> Pixels:
    """The picture in a frame that was not converted.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it is damaged, or no JPEG picture.
    """
    data = data_of(raw)
    if not data:
        raise ImageError("a frame without a JPEG picture")
    return decode(data)
