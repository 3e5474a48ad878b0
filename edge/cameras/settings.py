"""The settings of a camera; every back-end is made from them, also in a child process."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.errors import InputError
from edge.host.secrets import expand, expand_address
from edge.records import Specimen

LARGEST_SIDE_PX = 8192

IN_A_CHILD = re.compile(r"picamera2:\d+$|/dev/.|rtsps?://.|https?://.|gstreamer:.")
"""Sources whose reads may block within a driver or a network."""

KNOWN = "picamera2:N, /dev/videoN, rtsp://…, http://…, gstreamer:PIPELINE, files:PATH or simulator"


class CameraSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where frames come from, how they are taken and which of them become results.

    Attributes:
        source: "picamera2:N", "/dev/videoN", "rtsp://…", "http://…", "gstreamer:PIPELINE", "files:PATH" (a
            folder's images in name order, or a video file) or "simulator". ${NAME} stands for a variable
            of the environment, so that no password has to stand in the file.
        width, height: pixels that are asked of the source; 0 for its own choice.
        fps: frames a second that are asked of the source; 0 for its own choice, of the simulator for as
            many as it can.
        loop: of "files:PATH", begin again after the last.
        exposure_us: exposure time, microseconds; 0 lets the camera find it when it opens, and holds that.
        gain: analogue gain, a factor (picamera2) or the driver's own unit (/dev/video); 0 as for exposure.
        red_gain, blue_gain: white balance of picamera2, factors; 0 as for exposure.
        white_balance_k: white balance of /dev/video, kelvin; 0 as for exposure.
        crop: side of the centred square that shows the cell, pixels of the frame; 0 for the model's own,
            scaled by one of the next two.
        microns_per_pixel: of the frame; 0 if that is not known. With the model's own scale it makes a
            cell as large in the network's input as it was in training.
        scale: instead: how many times as large a cell is in the frame as in the images of the training.
        view: "cell", where the operator centres a cell and the centred square is judged, or "field", where every
            white cell of the frame is found and judged; crop, scale and background are then not used.
        trigger: which frames become results: "continuous" (the newest, over and over), "settled" (one each
            time that the field has moved and come to rest), "interval" or "request" (only when asked).
        interval_s: seconds between results where the trigger is "interval".
        calibration: file of `leukoscope calibrate`; "" for none.
        background: "keep", or "black" to blacken all but the cell, as in the images of the training.
        stall_s: a live camera that shows nothing new for this time has failed and is opened again.
        specimen: the slide or sample in view, or "".
    """

    source: str = "simulator"
    width: Annotated[int, Meta(ge=0, le=LARGEST_SIDE_PX)] = 0
    height: Annotated[int, Meta(ge=0, le=LARGEST_SIDE_PX)] = 0
    fps: Annotated[float, Meta(ge=0, le=1000)] = 5.0
    loop: bool = False
    exposure_us: Annotated[float, Meta(ge=0, le=10_000_000)] = 0.0
    gain: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    red_gain: Annotated[float, Meta(ge=0, le=32)] = 0.0
    blue_gain: Annotated[float, Meta(ge=0, le=32)] = 0.0
    white_balance_k: Annotated[int, Meta(ge=0, le=20_000)] = 0
    crop: Annotated[int, Meta(ge=0, le=LARGEST_SIDE_PX)] = 0
    microns_per_pixel: Annotated[float, Meta(ge=0, le=100)] = 0.0
    scale: Annotated[float, Meta(gt=0, le=100)] = 1.0
    view: Literal["cell", "field"] = "cell"
    trigger: Literal["continuous", "settled", "interval", "request"] = "continuous"
    interval_s: Annotated[float, Meta(gt=0, le=86400)] = 1.0
    calibration: str = ""
    background: Literal["keep", "black"] = "keep"
    stall_s: Annotated[float, Meta(ge=0.5, le=3600)] = 5.0
    specimen: Specimen = ""

    def __post_init__(self) -> None:
        # A source that begins with an environment variable is only known if that is set.
        if not (
            self.source == "simulator" or self.source.startswith(("files:", "${"))
        ) and not IN_A_CHILD.match(self.source):
            raise ValueError(f"[camera] source is not a known kind of camera; give {KNOWN}")

    def crop_px(self, model_crop_px: int, model_microns_per_pixel: float) -> int:
        """Side of the square that is cut out of a frame, so that a cell has the size that the model knows.

        Args:
            model_crop_px: the model's own crop, pixels of the images that it was trained on.
            model_microns_per_pixel: of those images; 0 if the model file does not give it.

        Raises:
            InputError: microns_per_pixel is set, and the model file gives no scale to compare it with; or the crop is
                too large.
        """
        if self.crop:
            return self.crop
        scale = self.scale
        if self.microns_per_pixel:
            if not model_microns_per_pixel:
                raise InputError(
                    f"camera.microns_per_pixel is {self.microns_per_pixel:g}, but the model file does not give its "
                    "own scale; give camera.scale or camera.crop instead"
                )
            scale = model_microns_per_pixel / self.microns_per_pixel
        crop_px = max(1, round(model_crop_px * scale))
        if crop_px > LARGEST_SIDE_PX:
            raise InputError(
                f"camera: a crop of {crop_px} px is over {LARGEST_SIDE_PX}; see microns_per_pixel and scale"
            )
        return crop_px

    def patience_s(self) -> float:
        """`stall_s`, but never less than a slow camera needs for two frames."""
        return max(self.stall_s, 2.5 / self.fps if self.fps else 0.0)


class SimulatorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the simulator draws and through which optics; ranges are checked where settings are read.

    Attributes:
        kind: "cell", one segmented cell on black as in C-NMC 2019, or "field", a whole smear field.
        seed: the same seed gives the same frames, in the same order.
        blur_px: focus blur, sigma of a Gaussian, in pixels of the frame.
        gradient: part of the brightness that is lost from the left side to the right, 0 to 1.
        noise_sigma_levels: sensor noise of each pixel and channel, sigma of a Gaussian, in 8-bit levels.
    """

    kind: Literal["cell", "field"] = "cell"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    blur_px: Annotated[float, Meta(ge=0.0, le=50.0)] = 0.6
    gradient: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.05
    noise_sigma_levels: Annotated[float, Meta(ge=0.0, le=100.0)] = 2.0


def address(source: str) -> str:
    """The source with each ${NAME} replaced from the environment, percent-encoded within user and password.

    Raises:
        InputError: such a variable is not set.
    """
    if source.startswith("gstreamer:"):  # a pipeline, in which an address is only a part
        return expand(source, "[camera] source")
    return expand_address(source, "[camera] source")
