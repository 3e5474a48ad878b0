"""A live camera under supervision: its newest frame, and what to do when none comes.

A reader thread opens the camera and reads it; a supervisor checks that new pictures arrive. If none arrive, the
reader is abandoned, whether or not it ever returns, and another reader opens the camera again, with back-off. Frames
of an abandoned reader are dropped.
"""

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable

import msgspec

from edge.cameras.base import Camera
from edge.cameras.vitals import identical, light
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.host import threads
from edge.host.backoff import Backoff
from edge.imaging.frame import Frame

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 20.0
"""Opening may take longer than a frame: exposure is found, a stream begins."""

LOAD_TIMEOUT_S = 300.0
"""Before that a child process loads its libraries: a second on a Raspberry Pi 4, minutes on an emulated ARM board."""

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
"""The pause before a camera is opened again; it doubles from one failure to the next."""

SOUND_STALLS = 2.0
"""A camera that has worked for this many times `stall_s` is healthy: after its next failure the pause is the shortest
again. For one that keeps failing after a moment, the pause keeps doubling."""

FRESH_S = 0.5
"""A frame that nobody has taken for this time is too old and is dropped."""

IDLE_READ_S = 1.0
"""While nobody waits for a frame, one is read at this interval to check that the camera works."""

LOOK_S = 0.25
"""Interval at which it is checked that new pictures arrive; a reader that ends is noticed at once."""

MAX_STUCK = 3
"""Limit of readers that never returned. After that, only a restart of the process helps."""

JOIN_S = 0.5


class Counts(msgspec.Struct):
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
        stall_s: without a new picture for this time, the camera has failed.
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
        self._thread: threading.Thread | None = None
        self.counts = Counts()
        self.description = ""

    def start(self) -> None:
        """Open the camera in its own threads, with unlimited attempts."""
        self._thread = threads.start("camera-supervisor", self._supervise)

    def close(self) -> None:
        """Release the camera."""
        self._closing.set()
        self._wanted.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(3.0)

    @property
    def state(self) -> str:
        """For health: "ok", "opening", or what is wrong."""
        return self._fault or ("ok" if self.description else "opening")

    def take(self, timeout_s: float, after_ns: int = 0) -> Frame | None:
        """The newest frame that was not taken yet, or None if none came in time.

        Args:
            after_ns: it must have been captured at this moment of the monotonic clock or later.

        Raises:
            InputError: the settings of the camera cannot work.
            LeukoscopeError: only a restart of the process can open the camera again.
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
        """The newest frame without taking it, or None if it is old; the camera keeps reading meanwhile."""
        with self._changed:
            self._wanted_until_s = max(self._wanted_until_s, time.monotonic() + IDLE_READ_S)
            self._wanted.set()
            fresh = time.monotonic() - self._arrived_s <= IDLE_READ_S
            return self._newest if fresh else None

    def _supervise(self) -> None:
        backoff = Backoff(FIRST_RETRY_S, LONGEST_RETRY_S)
        before: Frame | None = None
        for number in itertools.count(1):
            session = _Session(self._hooks(), number, before)
            fault = session.watch(self._stall_s)
            if not self._closing.is_set():
                self._begin_fault(fault)
            self._end(session)
            before = session.before
            self._consider(fault, session.error)
            if session.sound:
                backoff.reset()
            if self._lost is not None or self._closing.wait(backoff.next_s()):
                return

    def _end(self, session: "_Session") -> None:
        """Close the camera of a session; its threads may never end."""
        with self._changed:
            self._frame = self._newest = None
        self._wanted.set()
        self._stuck = [thread for thread in [*self._stuck, *session.abandon()] if thread.is_alive()]

    def _begin_fault(self, fault: str) -> None:
        with self._changed:
            self.counts.faults += 1
            if not self._fault:
                self._fault_since_s = time.monotonic()
        with self._changed:
            news = _reason(fault) not in self._said  # each reason once, until the camera works again
            self._said.add(_reason(fault))
            self._fault = fault
        if news:
            log.error("camera: %s; trying again", fault)

    def _consider(self, fault: str, error: LeukoscopeError | None) -> None:
        """Decide whether another attempt makes sense."""
        with self._changed:
            if isinstance(error, InputError):
                self._lost = error
            elif len(self._stuck) >= MAX_STUCK:
                self._lost = LeukoscopeError(
                    f"camera: {fault}; {len(self._stuck)} reads hang within its driver for ever, so that only a "
                    "new process may have it again"
                )
            self._changed.notify_all()

    def _hooks(self) -> "_Hooks":
        return _Hooks(
            self._make_camera, self._closing, self._opened, self._arrived, self._count, self._until_wanted
        )

    def _opened(self, description: str) -> None:
        if description != self.description:
            log.info("camera: %s", description)
        self.description = description

    def _count(self, what: str) -> None:
        with self._changed:
            setattr(self.counts, what, getattr(self.counts, what) + 1)

    def _arrived(self, frame: Frame, ended: threading.Event) -> None:
        """A new picture; called by the session's reader. One from a session that has ended is dropped."""
        with self._changed:
            if ended.is_set():
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

    def _until_wanted(self) -> None:
        """Between two frames: return at once while somebody waits for one, else wait until somebody does."""
        if time.monotonic() < self._wanted_until_s:
            return
        self._wanted.clear()
        if time.monotonic() >= self._wanted_until_s:
            self._wanted.wait(min(IDLE_READ_S, self._stall_s / 4))


def _reason(fault: str) -> str:
    """A fault without its numbers, which may differ between attempts."""
    return re.sub(r"\d+(\.\d+)?", "#", fault)


class _Hooks(msgspec.Struct, frozen=True):
    """The callbacks of a session."""

    make_camera: Callable[[], Camera]
    closing: threading.Event
    opened: Callable[[str], None]
    arrived: Callable[[Frame, threading.Event], None]
    count: Callable[[str], None]
    until_wanted: Callable[[], None]


class _Session:
    """One opening of the camera, with the thread that reads it.

    Args:
        hooks: of the capture.
        before: the last frame of the opening before, which a frozen camera shows again.
    """

    def __init__(self, hooks: _Hooks, number: int, before: Frame | None):
        self._hooks, self.before = hooks, before
        self._camera: Camera | None = None
        self._lock = threading.Lock()  # of the camera: set and cleared by different threads
        self._opened_s = 0.0
        self._made_s = self._new_s = time.monotonic()
        self._light = ""
        self._same = False
        self.sound = False
        self.error: LeukoscopeError | None = None
        self.ended = threading.Event()
        self._reader: threading.Thread | None = None
        try:
            self._reader = threads.start(f"camera-{number}", self._read)
        except RuntimeError as error:  # no memory, or too many threads; the supervisor tries again
            self.error = LeukoscopeError(f"the system cannot start another thread ({error})")
            self.ended.set()

    def watch(self, stall_s: float) -> str:
        """Wait until this session has failed or the capture is closed; gives the reason."""
        while not self._hooks.closing.is_set():
            now_s = time.monotonic()
            if getattr(self._camera, "loading", False) and now_s - self._made_s < LOAD_TIMEOUT_S:
                self._new_s = now_s
            patience_s = stall_s if self._opened_s else max(stall_s, OPEN_TIMEOUT_S)
            self.sound = bool(self._opened_s) and self._new_s - self._opened_s > SOUND_STALLS * stall_s
            if self.ended.wait(min(LOOK_S, stall_s / 5)):
                return str(self.error)
            if now_s - self._new_s > patience_s:
                return self._why_nothing_new(patience_s)
        return "closed"

    def _why_nothing_new(self, patience_s: float) -> str:
        if not self._opened_s:
            return f"does not open within {patience_s:g} s"
        if self._light:
            return f"shows only {self._light} pictures; check the lamp, the shutter and the exposure"
        if self._same:
            return f"is frozen: the same picture for {patience_s:g} s"
        return f"gives no picture for {patience_s:g} s"

    def abandon(self) -> list[threading.Thread]:
        """Close the camera from outside; gives the threads that did not end within `JOIN_S`."""
        self.ended.set()
        running = [self._reader] if self._reader is not None else []
        with self._lock:
            camera = self._camera
        if camera is not None:
            try:
                running.insert(0, threads.start("camera-closer", lambda: self._close(camera)))
            except RuntimeError:  # so in this thread: it may take long, but the device must be released
                self._close(camera)
        deadline_s = time.monotonic() + JOIN_S
        for thread in running:
            thread.join(max(0.05, deadline_s - time.monotonic()))
        # If a driver blocks both threads, that is one stuck camera.
        return [thread for thread in running if thread.is_alive()][:1]

    def _close(self, camera: Camera) -> None:
        try:
            camera.close()
        except LeukoscopeError as error:
            log.error("%s", error)
            threading.Event().wait()  # counts as stuck: the device is not free

    def _read(self) -> None:
        try:
            camera = self._hooks.make_camera()
            with self._lock:
                self._camera = camera
            if self.ended.is_set():  # abandoned while it was being made: nobody else would close it
                camera.close()
                return
            camera.open()
            if self.ended.is_set():  # closed before it was opened
                camera.close()
                return
            self._opened_s = self._new_s = time.monotonic()
            self._hooks.opened(camera.description or "open")
            while not self.ended.is_set():
                self._next(camera)
                self._hooks.until_wanted()
        except LeukoscopeError as error:
            self.error = error
        except Exception as error:  # the thread's top: whatever a driver raises
            self.error = LeukoscopeError(f"unexpected {type(error).__name__}: {error}")
            log.debug("camera: unexpected error", exc_info=True)
        self.ended.set()

    def _next(self, camera: Camera) -> None:
        """Read one frame and hand it over if it is a new picture."""
        try:
            frame = camera.read()
        except ImageError as error:
            self._hooks.count("unreadable")
            log.debug("%s", error)
            return
        if frame is None:
            raise LeukoscopeError("the stream ended")
        self._same = self.before is not None and identical(self.before.pixels, frame.pixels)
        self._light = light(frame.pixels)
        if self._same or self._light:
            self._hooks.count("withheld")
        else:
            self._new_s = time.monotonic()
            self._hooks.arrived(frame, self.ended)
        self.before = frame
