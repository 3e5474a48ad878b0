"""Small pictures of the camera's view, for people who watch, in a thread of its own that never delays a frame.

Published with QoS 0 outside the outbox, and only while somebody has asked for them recently.
"""

import base64
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import msgspec

from edge.host import threads
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre_crop
from edge.imaging.quality import measure
from edge.mqtt.commands.requests import ViewRequest
from edge.notice import NOTICE
from edge.records import Record, rfc3339

LONGEST_SIDE_PX = 640
JPEG_QUALITIES = (75, 45)
LARGEST_BYTES = 96 * 1024
"""Of a JPEG; a picture that is larger at the lowest quality is not sent."""

JUDGED_S = 1.5
"""Verdicts of older frames are not drawn: the slide may have moved."""

IDLE_S = 0.5
MOST_CELLS = 200


class _Judged(NamedTuple):
    at_s: float
    cells: list[dict[str, Any]]
    field: str


class Views:
    """Publishes pictures while they are wanted.

    Args:
        newest: gives the newest frame of a live camera; None if there is none, or the camera is not live.
        publish: sends a message; drops it rather than wait.
        crop_px: side of the centred square that is judged, pixels.
    """

    def __init__(self, newest: Callable[[], Frame | None], publish: Callable[[bytes], None], crop_px: int):
        self._newest, self._publish, self._crop_px = newest, publish, crop_px
        self._wanted_until_s = 0.0
        self._interval_s = 1.0
        self._given: Frame | None = None
        self._judged: _Judged | None = None
        self._wanted = threading.Event()

    def request(self, request: ViewRequest) -> dict[str, float]:
        """`view`: publish pictures for the requested seconds."""
        self._interval_s = 1 / request.per_second
        self._wanted_until_s = max(self._wanted_until_s, time.monotonic() + request.seconds)
        self._wanted.set()
        return {"seconds": request.seconds, "per_second": request.per_second}

    @property
    def wanted(self) -> bool:
        """Whether somebody watches."""
        return time.monotonic() < self._wanted_until_s

    def judged(self, frame: Frame, record: Record) -> None:
        """A frame was classified. Called by the daemon's loop, so it is only noted, and only while somebody watches."""
        if not self.wanted:
            return
        self._given = frame
        cell = {
            "id": record.id,
            "box": list(record.field.box) if record.field else _centre(frame.pixels, self._crop_px),
            "verdict": record.verdict,
            "kind": record.kind,
            "probabilities": record.probabilities,
        }
        field, before = (record.field.id if record.field else ""), self._judged
        cells = [*before.cells, cell] if before and field and before.field == field else [cell]
        self._judged = _Judged(time.monotonic(), cells[-MOST_CELLS:], field)

    def start(self, stopping: threading.Event) -> threading.Thread:
        """Begin, in a thread of its own."""
        return threads.keep("view", lambda: self._run(stopping), stopping)

    def _run(self, stopping: threading.Event) -> None:
        shown: Frame | None = None
        while not stopping.is_set():
            if not self.wanted:
                self._given = self._judged = shown = None
                self._wanted.clear()
                self._wanted.wait(IDLE_S)
                continue
            began_s = time.monotonic()
            frame = self._newest() or self._given
            if frame is not None and frame is not shown:
                shown = frame
                if payload := self._message(frame):
                    self._publish(payload)
            stopping.wait(max(0.02, self._interval_s - (time.monotonic() - began_s)))

    def _message(self, frame: Frame) -> bytes:
        jpeg = small_jpeg(frame.pixels)
        if not jpeg:
            return b""
        height, width = frame.pixels.shape[:2]
        judged = self._judged
        cells = judged.cells if judged and time.monotonic() - judged.at_s < JUDGED_S else []
        square = centre_crop(frame.pixels, min(self._crop_px or min(height, width), height, width))
        quality = measure(square)
        return msgspec.json.encode(
            {
                "at": rfc3339(frame.captured_at_ns),
                "size": [width, height],
                "jpeg": base64.b64encode(jpeg).decode(),
                "cells": cells,
                "sharpness": quality["sharpness"],
                "brightness": quality["brightness"] or float(square.mean()),
                "saturated": quality["saturated"],
                "notice": NOTICE,
            }
        )


def small_jpeg(pixels: Pixels) -> bytes:
    """A JPEG of at most LONGEST_SIDE_PX and LARGEST_BYTES; b"" if it cannot be made so small.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE_PX / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        bgr = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    else:
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    for quality in JPEG_QUALITIES:
        made, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if made and len(jpeg) <= LARGEST_BYTES:
            return jpeg.tobytes()
    return b""


def _centre(pixels: Pixels, side_px: int) -> list[int]:
    height, width = pixels.shape[:2]
    side = min(side_px or min(height, width), height, width)
    return [(width - side) // 2, (height - side) // 2, side, side]
