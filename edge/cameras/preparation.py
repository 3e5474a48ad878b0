"""From a frame to the picture of its cell: cropped, corrected, and blackened around the cell if the settings ask for
it."""

from pathlib import Path

from edge.cameras.optics import Correction
from edge.cameras.settings import CameraSettings
from edge.imaging.background import blacken
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import centre


class Preparation:
    """The steps between camera and classifier that the settings ask for.

    Args:
        camera: calibration and background.
        crop_px: side of the square that shows the cell, pixels of the frame.

    Raises:
        InputError: the calibration is missing, or was made with other settings.
    """

    def __init__(self, camera: CameraSettings, crop_px: int):
        self._crop_px = crop_px
        self._black = camera.background == "black"
        self._correction = (
            Correction(Path(camera.calibration), camera, crop_px) if camera.calibration else None
        )

    def picture(self, pixels: Pixels) -> Pixels:
        """The centred square of a frame, even and neutral: the picture that a person sees.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            (crop_px, crop_px, 3) uint8 RGB, or less where the frame is smaller; without calibration a view.

        Raises:
            InputError: the calibration is for frames of another size.
        """
        if self._correction is not None:
            return self._correction.apply(pixels)
        return centre(pixels, self._crop_px)

    def input(self, picture: Pixels) -> Pixels:
        """The classifier's input from that picture."""
        return blacken(picture) if self._black else picture

    @property
    def fault(self) -> str:
        """Why the calibration no longer fits, or ""."""
        return self._correction.fault if self._correction is not None else ""
