"""A live camera under supervision: its newest frame, and what to do when none comes.

A reader thread opens the camera and reads it; a supervisor watches that new pictures come. Where they
do not, the reader is abandoned, whether it ever returns or not, and the camera is opened anew by
another, with back-off. What an abandoned reader still brings is thrown away.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.cameras.base import Camera
from edge.cameras.vitals import identical, light
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.imaging.frame import Frame

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 20.0
"""Opening may take longer than a frame: exposure is found, a stream begins."""

LOAD_TIMEOUT_S = 300.0
"""Before that a child process loads its libraries: a second on a Raspberry Pi 4, minutes where ARM is emulated."""

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
"""The pause before a camera is opened again; it doubles from one failure to the next."""

SOUND_STALLS = 2.0
"""A camera that has worked for so many times `stall_s` is sound: its next failure begins with the shortest
pause. One that fails again and again after a moment is tried ever more seldom."""

FRESH_S = 0.5
"""A frame that nobody has taken for so long is old, and is not given any more."""

IDLE_READ_S = 1.0
"""While nobody waits for a frame, one is read so often to see that the camera works."""

MAX_STUCK = 3
"""Readers that never came back. With so many, only a new process can help."""

JOIN_S = 0.5


@dataclass
class Counts:
    """What happened to the camera since the start, for health."""

    read: int = 0
    unreadable: int = 0
    withheld: int = 0
    """Frames that were identical to the one before, black or saturated."""
    faults: int = 0


class Capture:
    """Gives the newest frame of a live camera, for as long as the process lives.

    Args:
        make_camera: a new camera each time; it is opened here.
        stall_s: without a new picture for so long, the camera has failed.
    """

    def __init__(self, make_camera: Callable[[], Camera], stall_s: float):
        self._make_camera, self._stall_s = make_camera, stall_s
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._newest: Frame | None = None
        self._arrived_s = 0.0
        self._wanted_until_s = 0.0
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._stuck: list[threading.Thread] = []
        self._lost: LeukoscopeError | None = None
        self._fault, self._fault_since_s = "", 0.0
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._supervise, name="camera-supervisor", daemon=True)
        self.counts = Counts()
        self.description = ""

    def start(self) -> None:
        """Open the camera, in threads of their own; it is tried for ever."""
        self._thread.start()

    def close(self) -> None:
        """Give the camera back."""
        self._closing.set()
        self._wanted.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(3.0)

    @property
    def state(self) -> str:
        """For health: "ok", "opening", or what is wrong."""
        return self._fault or ("ok" if self.description else "opening")

    def take(self, timeout_s: float, after_ns: int = 0) -> Frame | None:
        """The newest frame that was not taken yet, or None where none came in time.

        Args:
            after_ns: it must have been captured at this moment of the monotonic clock or later.

        Raises:
            InputError: the settings of the camera cannot work.
            LeukoscopeError: the camera can only be had again by a new process.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if self._lost is not None:
                    raise self._lost
                now_s = time.monotonic()
                frame, self._frame = self._frame, None
                # The next is probably wanted soon after this one.
                self._wanted_until_s = now_s + IDLE_READ_S
                if frame and now_s - self._arrived_s <= FRESH_S and frame.monotonic_ns >= after_ns:
                    return frame
                if now_s >= deadline_s or self._closing.is_set():
                    return None
                self._wanted.set()
                self._changed.wait(min(deadline_s - now_s, IDLE_READ_S / 2))

    def look(self) -> Frame | None:
        """The newest frame without taking it, or None if it is old; the camera is read on for whoever looks."""
        with self._changed:
            self._wanted_until_s = max(self._wanted_until_s, time.monotonic() + IDLE_READ_S)
            self._wanted.set()
            fresh = time.monotonic() - self._arrived_s <= IDLE_READ_S
            return self._newest if fresh else None

    def _supervise(self) -> None:
        retry_s = FIRST_RETRY_S
        before: Frame | None = None
        for number in itertools.count(1):
            session = _Session(self, number, before)
            fault = session.watch(self._stall_s)
            if not self._closing.is_set():
                self._begin_fault(fault)
            self._end(session)
            before = session.before
            self._consider(fault, session.error)
            if session.sound:
                retry_s = FIRST_RETRY_S
            if self._lost is not None or self._closing.wait(retry_s):
                return
            retry_s = min(retry_s * 2, LONGEST_RETRY_S)

    def _end(self, session: "_Session") -> None:
        """Take the camera from a session; its threads may never end."""
        with self._changed:
            self._frame = self._newest = None
        self._wanted.set()
        self._stuck = [thread for thread in [*self._stuck, *session.abandon()] if thread.is_alive()]

    def _begin_fault(self, fault: str) -> None:
        self.counts.faults += 1
        if not self._fault:
            self._fault_since_s = time.monotonic()
        if fault not in self._said:  # each reason once, until the camera works again
            log.error("camera: %s; it is tried again and again", fault)
            self._said.add(fault)
        self._fault = fault

    def _consider(self, fault: str, error: LeukoscopeError | None) -> None:
        """Is there any sense in trying again?"""
        with self._changed:
            if isinstance(error, InputError):
                self._lost = error
            elif len(self._stuck) >= MAX_STUCK:
                self._lost = LeukoscopeError(
                    f"camera: {fault}; {len(self._stuck)} reads hang within its driver for ever, so that only a "
                    "new process may have it again"
                )
            self._changed.notify_all()

    def _opened(self, description: str) -> None:
        if description != self.description:
            log.info("camera: %s", description)
        self.description = description

    def _arrived(self, session: "_Session", frame: Frame) -> None:
        """A new picture; called by the session's reader."""
        with self._changed:
            if session.ended.is_set():
                return
            self.counts.read += 1
            self._frame = self._newest = frame
            self._arrived_s = time.monotonic()
            if self._fault:
                lasted_s = self._arrived_s - self._fault_since_s
                log.info("camera: works again after %.1f s (%s)", lasted_s, self.description)
                self._fault = ""
                self._said.clear()
            self._changed.notify_all()


class _Session:
    """One opening of the camera, with the thread that reads it.

    Args:
        before: the last frame of the opening before, which a frozen camera shows again.
    """

    def __init__(self, capture: Capture, number: int, before: Frame | None):
        self._capture, self.before = capture, before
        self._camera: Camera | None = None
        self._opened_s = 0.0
        self._made_s = self._new_s = time.monotonic()
        self._light = ""
        self._same = False
        self.sound = False
        self.error: LeukoscopeError | None = None
        self.ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"camera-{number}", daemon=True)
        self._reader.start()

    def watch(self, stall_s: float) -> str:
        """Wait until this session has failed or the capture is closed; gives the reason."""
        while not self._capture._closing.is_set():
            now_s = time.monotonic()
            if getattr(self._camera, "loading", False) and now_s - self._made_s < LOAD_TIMEOUT_S:
                self._new_s = now_s
            patience_s = stall_s if self._opened_s else max(stall_s, OPEN_TIMEOUT_S)
            self.sound = bool(self._opened_s) and self._new_s - self._opened_s > SOUND_STALLS * stall_s
            if self.ended.wait(min(0.1, stall_s / 5)):
                return str(self.error)
            if now_s - self._new_s > patience_s:
                return self._why_nothing_new(patience_s)
        return "closed"

    def _why_nothing_new(self, patience_s: float) -> str:
        if not self._opened_s:
            return f"does not open within {patience_s:g} s"
        if self._light:
            return f"shows only {self._light} pictures; look at the lamp, the shutter and the exposure"
        if self._same:
            return f"is frozen: the same picture for {patience_s:g} s"
        return f"gives no picture for {patience_s:g} s"

    def abandon(self) -> list[threading.Thread]:
        """Close the camera from outside; gives the threads that did not end within `JOIN_S`."""
        self.ended.set()
        threads = [self._reader]
        if self._camera is not None:
            closer = threading.Thread(target=self._close, name="camera-closer", daemon=True)
            closer.start()
            threads.insert(0, closer)
        deadline_s = time.monotonic() + JOIN_S
        for thread in threads:
            thread.join(max(0.05, deadline_s - time.monotonic()))
        # A driver that blocks both is one camera that is stuck.
        return [thread for thread in threads if thread.is_alive()][:1]

    def _close(self) -> None:
        assert self._camera is not None
        try:
            self._camera.close()
        except LeukoscopeError as error:
            log.error("%s", error)
            threading.Event().wait()  # counts as stuck: the device is not free

    def _read(self) -> None:
        try:
            self._camera = camera = self._capture._make_camera()
            camera.open()
            self._opened_s = self._new_s = time.monotonic()
            self._capture._opened(camera.description or "open")
            while not self.ended.is_set():
                self._next(camera)
                self._pause()
        except LeukoscopeError as error:
            self.error = error
        except Exception as error:  # the thread's top: whatever a driver raises
            self.error = LeukoscopeError(f"unexpected {type(error).__name__}: {error}")
            if str(self.error) not in self._capture._said:
                log.exception("camera: unexpected error")
        self.ended.set()

    def _next(self, camera: Camera) -> None:
        """Read one frame and hand it over if it is a new picture."""
        counts = self._capture.counts
        try:
            frame = camera.read()
        except ImageError as error:
            counts.unreadable += 1
            log.debug("%s", error)
            return
        if frame is None:
            raise LeukoscopeError("the stream ended")
        self._same = self.before is not None and identical(self.before.pixels, frame.pixels)
        self._light = light(frame.pixels)
        if self._same or self._light:
            counts.withheld += 1
        else:
            self._new_s = time.monotonic()
            self._capture._arrived(self, frame)
        self.before = frame

    def _pause(self) -> None:
        """Between two frames: none while somebody waits, else until somebody does."""
        capture = self._capture
        if time.monotonic() < capture._wanted_until_s:
            return
        capture._wanted.clear()
        if time.monotonic() >= capture._wanted_until_s:
            capture._wanted.wait(min(IDLE_READ_S, capture._stall_s / 4))
