"""`leukoscope calibrate`: measures an empty field and stores how to make it even and neutral."""

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edge import settings as settings_file
from edge.cameras import optics
from edge.cameras.base import Camera
from edge.cameras.capture import Capture
from edge.cameras.settings import CameraSettings
from edge.cameras.sources import make_camera
from edge.errors import InputError, LeukoscopeError
from edge.host.durable import replace_file
from edge.host.terminal import console
from edge.host.terminal.progress import progress
from edge.imaging.frame import Pixels
from edge.settings import Settings

log = logging.getLogger(__name__)

FRAMES = 32
"""Averaged: noise of sigma 5 levels in a pixel is under 0.1 in a block of 16 x 16."""

TIMEOUT_S = 60.0
GAP_PX, NAME_PX = 8, 40


def command(options: argparse.Namespace) -> int:
    """Measure, store and report.

    Raises:
        InputError: the settings name no file for the calibration.
        LeukoscopeError: there are no frames, or they do not show an empty field.
    """
    config = settings_file.find(options.config)
    settings = settings_file.load(config)
    if not settings.camera.calibration:
        raise InputError(
            f"settings {config}: camera.calibration names no file; set it, for example to "
            '"/var/lib/leukoscope/calibration.npz"'
        )
    log.info("an empty, evenly lit field has to be in view; reading %d frames", FRAMES)
    with progress("reading frames", FRAMES) as (step, _):
        frames = read_frames(settings, step)
    header, gains = optics.measure_field(frames, settings.camera)
    file = Path(settings.camera.calibration)
    optics.save(file, header, gains)
    if options.picture:
        replace_file(options.picture, before_and_after(frames[-1], file, settings.camera))
        log.info("%s: one frame, before and after the correction", options.picture)
    red, green, blue = header.field_rgb
    console.result(
        options.json,
        {"file": str(file), **msgspec.structs.asdict(header)},
        f"{file}: {header.width} × {header.height} px; the empty field has red {red:.0f}, green {green:.0f}, blue "
        f"{blue:.0f}",
        f"unevenness {header.unevenness:.1%}, after correction {header.corrected_unevenness:.2%}",
        "restart to apply: sudo systemctl restart leukoscope",
    )
    return 0


def before_and_after(frame: Pixels, calibration: Path, camera: CameraSettings) -> bytes:
    """A PNG: the whole frame as the camera gave it, a gap, and the same frame after the correction, each named.

    Args:
        frame: (H, W, 3) uint8 RGB.
        calibration: the file that was just written.
        camera: the settings that the frame was taken with.
    """
    after = optics.Correction(calibration, camera, max(frame.shape[:2])).apply(frame)
    gap = np.full((frame.shape[0] + NAME_PX, GAP_PX, 3), 255, np.uint8)
    both = np.hstack([_named("before", frame), gap, _named("after", after)])
    return cv2.imencode(".png", both[..., ::-1])[1].tobytes()


def _named(name: str, frame: Pixels) -> Pixels:
    """A frame below a white strip with its name."""
    strip = np.full((NAME_PX, frame.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, name, (10, NAME_PX - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2, cv2.LINE_AA)
    return np.vstack([strip, frame])


def read_frames(settings: Settings, step: Callable[[], None] = lambda: None) -> list[Pixels]:
    """Whole frames, one after the other.

    Args:
        step: called after each.

    Raises:
        LeukoscopeError: the camera gives none.
    """
    camera = make_camera(settings.camera, settings.simulator)
    if not camera.live:
        return _of_files(camera, step)
    capture = Capture(lambda: make_camera(settings.camera, settings.simulator), settings.camera.patience_s())
    capture.start()
    frames: list[Pixels] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while len(frames) < FRAMES and time.monotonic() < deadline_s:
            frame = capture.take(1.0)
            if frame is not None:
                frames.append(frame.pixels)
                step()
        if not frames:
            raise LeukoscopeError(f"no frame came within {TIMEOUT_S:g} s; camera: {capture.state}")
    finally:
        capture.close()
    return frames


def _of_files(camera: Camera, step: Callable[[], None]) -> list[Pixels]:
    camera.open()
    frames: list[Pixels] = []
    while len(frames) < FRAMES and (frame := camera.read()) is not None:
        if frames and frame.pixels.shape != frames[0].shape:
            raise LeukoscopeError(
                f"{frame.source}: {frame.pixels.shape[1]} x {frame.pixels.shape[0]} px, others have "
                f"{frames[0].shape[1]} x {frames[0].shape[0]}; frames of one camera have one size"
            )
        frames.append(frame.pixels)
        step()
    camera.close()
    if not frames:
        raise LeukoscopeError(f"{camera.description}: none could be read")
    return frames
