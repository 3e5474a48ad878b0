"""Which frames of a live camera become results: by the setting `camera.trigger`, and on request."""

import dataclasses
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge.cameras.settings import CameraSettings
from edge.errors import LeukoscopeError
from edge.imaging.frame import Frame, Pixels
from edge.imaging.preprocess import centre_crop
from edge.records import Record

REQUEST_TIMEOUT_S = 10.0
"""A request fails if no frame has answered it after this time."""

MAX_REQUESTS = 100

COARSE_SIDE = 32
"""Pixels. Movement is measured on the green plane, averaged to this side: noise and flicker average out."""

MOTION_LEVELS = 4.0
"""A field has moved if two coarse planes differ by more than this (standard deviation of the difference,
8-bit levels). Of smears and C-NMC cells, crops of 400 px: sensor noise of sigma 10 gives 1.2 at most, a lamp
that flickers by 3 % 1.1, a shift of 2 px 2.9; a shift of 8 px 2.8 to 10.8, of 16 px 4.5 to 19."""

SETTLE_S = 0.3
"""A field that has not moved for this time has come to rest."""

LOOK_S = 0.1
"""Interval at which the trigger "settled" looks for movement: often enough for `SETTLE_S`, and a box that waits for a
movement has little to do."""


class _Request(msgspec.Struct, eq=False):
    specimen: str | None
    made_ns: int = msgspec.field(default_factory=time.monotonic_ns)
    answer: "Future[Record]" = msgspec.field(default_factory=Future)


class Gate:
    """Decides for each frame; requests may come from any thread, all other calls from the daemon's loop.

    Args:
        settings: trigger, interval and the specimen at the start.
        region_px: side of the centred square in which movement counts; 0 for the whole frame.
    """

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        self._trigger, self._interval_s = settings.trigger, settings.interval_s
        self._motion = Motion(region_px)
        self._due_s = time.monotonic()
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._answering: list[_Request] = []
        self._specimen: str | None = None

    def request(self, specimen: str | None = None) -> "Future[Record]":
        """Ask for one result of a frame that is captured from now on; thread-safe.

        Args:
            specimen: of this result; None for the one that is set.

        Returns:
            A future with the record as the outbox has numbered and stored it, or a LeukoscopeError.

        Raises:
            LeukoscopeError: too many requests wait already.
        """
        request = _Request(specimen)
        with self._changed:
            if len(self._requests) >= MAX_REQUESTS:
                raise LeukoscopeError(
                    f"{MAX_REQUESTS} requests wait already; ask again when they are answered"
                )
            self._requests.append(request)
            self._changed.notify_all()
        return request.answer

    def set_specimen(self, specimen: str | None) -> None:
        """Set the slide or sample that is in view from now on; None for that of the settings. Thread-safe."""
        self._specimen = specimen

    def named(self, frame: Frame) -> Frame:
        """The frame with the specimen that is set."""
        specimen = self._specimen
        return frame if specimen is None else dataclasses.replace(frame, specimen=specimen)

    @property
    def idle(self) -> bool:
        """Whether no frame is wanted at the moment."""
        return not self._requests and self._wait_s() > 0

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` until a frame is wanted; whether one is."""
        with self._changed:
            wait_s = self._wait_s()
            if not self._requests and wait_s > 0:
                self._changed.wait(min(wait_s, timeout_s))
            return not self.idle

    def _wait_s(self) -> float:
        if self._trigger == "request":
            return float("inf")
        return self._due_s - time.monotonic() if self._trigger in ("interval", "settled") else 0.0

    @property
    def after_ns(self) -> int:
        """Only a frame captured since this moment of the monotonic clock can be used."""
        with self._changed:
            if self._requests and self._trigger in ("request", "interval"):
                return self._requests[0].made_ns
        return round(self._due_s * 1e9) if self._trigger == "interval" else 0

    def admit(self, frame: Frame) -> Frame | None:
        """The frame with its specimen if it is to become a result, else None."""
        with self._changed:
            while self._requests and self._requests[0].made_ns <= frame.monotonic_ns:
                self._answering.append(self._requests.popleft())
        if not (self._triggered(frame) or self._answering):
            return None
        specimen = self._specimen
        for request in self._answering:
            specimen = specimen if request.specimen is None else request.specimen
        return frame if specimen is None else dataclasses.replace(frame, specimen=specimen)

    def _triggered(self, frame: Frame) -> bool:
        if self._trigger == "settled":
            self._due_s = time.monotonic() + LOOK_S
            return self._motion.settled(frame)
        if self._trigger == "interval":
            if time.monotonic() < self._due_s:
                return False
            # Counted from the due time, so that delays do not add up; a missed result is not caught up.
            self._due_s = max(self._due_s + self._interval_s, time.monotonic())
            return True
        return self._trigger == "continuous"

    @property
    def asked(self) -> bool:
        """Whether a request waits for the result of the admitted frame."""
        return bool(self._answering)

    def answer(self, stored: "Future[Any] | None") -> None:
        """Give the requests that the admitted frame answers its record, once it is stored."""
        if stored is None:  # the outbox did not take it
            return
        for request in self._answering:
            stored.add_done_callback(lambda done, request=request: _hand_on(done, request.answer))  # type: ignore[misc]
        self._answering = []

    def fail(self, reason: str, at_once: bool = False) -> None:
        """Fail the requests that have waited too long (or all, with `at_once`), or whose frame gave no result."""
        timeout_s = 0.0 if at_once else REQUEST_TIMEOUT_S
        oldest_ns = time.monotonic_ns() - round(timeout_s * 1e9)
        failed, self._answering = self._answering, []
        with self._changed:
            while self._requests and self._requests[0].made_ns < oldest_ns:
                failed.append(self._requests.popleft())
        for request in failed:
            request.answer.set_exception(LeukoscopeError(f"no result: {reason}"))


def _hand_on(done: "Future[Any]", answer: "Future[Any]") -> None:
    error = done.exception()
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(done.result())


class Motion:
    """Detects when the field has moved and come to rest.

    Args:
        region_px: side of the centred square that is used; 0 for the whole frame.
    """

    def __init__(self, region_px: int):
        self._region_px = region_px
        self._rest: npt.NDArray[np.float32] | None = None
        self._rest_ns = 0
        self._given = False

    def settled(self, frame: Frame) -> bool:
        """True once for each rest, when it has lasted for `SETTLE_S`."""
        plane = coarse_plane(frame.pixels, self._region_px)
        if self._rest is None or difference_levels(plane, self._rest) > MOTION_LEVELS:
            # Compared with the beginning of the rest, so that a slow drift is noticed too.
            self._rest, self._rest_ns, self._given = plane, frame.monotonic_ns, False
        if self._given or frame.monotonic_ns - self._rest_ns < SETTLE_S * 1e9:
            return False
        self._given = True
        return True


def coarse_plane(pixels: Pixels, region_px: int) -> npt.NDArray[np.float32]:
    """(32, 32) float32: the green plane of the centred square, averaged."""
    if 0 < region_px < min(pixels.shape[:2]):
        pixels = centre_crop(pixels, region_px)
    green = cv2.extractChannel(pixels, 1)
    return cv2.resize(green, (COARSE_SIDE, COARSE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def difference_levels(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Standard deviation of the difference, so that an overall change of the lamp hardly counts."""
    return float(cv2.meanStdDev(cv2.subtract(one, other))[1][0, 0])
