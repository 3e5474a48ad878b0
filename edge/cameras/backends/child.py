"""A camera in a child process: whatever its driver does, the child can be killed and started again.

A thread that blocks within a driver cannot be ended. It keeps the device, so that the same process cannot open it
again; libcamera even allows only one manager per process. When a child is killed, the kernel releases all of it.
"""

import contextlib
import io
import mmap
import os
import select
import signal
import subprocess
import threading

import msgspec
import numpy as np

from edge.cameras.settings import CameraSettings
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.host import children
from edge.host.secrets import redact
from edge.imaging.frame import Frame

LARGEST_FRAME_BYTES = 8192 * 8192 * 3
"""Size of the shared memory for one frame; only the pages that are written take up memory."""

STOP_TIMEOUT_S = 2.0
POLL_MS = 500

# For FFmpeg within OpenCV: RTSP over TCP loses no packets, and nothing is buffered beyond one frame.
STREAM_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"

# Environment variables of the other libraries. They are silenced: they would log at each attempt what our error
# reports once.
LIBRARIES = {
    "OPENCV_LOG_LEVEL": "SILENT",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
    "LIBCAMERA_LOG_LEVELS": "*:FATAL",
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", STREAM_OPTIONS),
}


class Order(msgspec.Struct, frozen=True):
    """The first line to the child: what to open."""

    settings: CameraSettings
    region_px: int


class Message(msgspec.Struct, frozen=True):
    """A line from the child.

    Attributes:
        kind: "loaded" (its libraries), "opened", "frame", or of an error "image", "input" or "camera".
        text: of the error; the camera's description once it is opened; the frame's source.
        height, width, captured_at_ns, monotonic_ns, specimen: of the frame that lies in the shared memory.
    """

    kind: str
    text: str = ""
    height: int = 0
    width: int = 0
    captured_at_ns: int = 0
    monotonic_ns: int = 0
    specimen: str = ""


ERRORS = {"image": ImageError, "input": InputError, "camera": LeukoscopeError}


class ChildCamera:
    """Any back-end, run by `edge.cameras.backends.worker` in a process of its own.

    Args:
        settings: of the camera.
        region_px: side of the centred square that is given; 0 for the whole frame.

    Attributes:
        loading: the child is still loading its libraries; this is no sign of a camera fault.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        self._order = Order(settings, region_px)
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: io.FileIO | None = None
        self._answering = threading.Lock()  # held while `_messages` is read
        self._memory: mmap.mmap | None = None
        self._rest = b""
        self._closed = threading.Event()
        self.loading = False
        self.description = ""

    def open(self) -> None:
        """Start the child and wait until its camera is open.

        Raises:
            LeukoscopeError: as the back-end says, or the child ended.
        """
        self._closed.clear()
        self._rest = b""
        self.loading = True
        memory = os.memfd_create("leukoscope-frame")
        os.ftruncate(memory, LARGEST_FRAME_BYTES)
        self._memory = mmap.mmap(memory, LARGEST_FRAME_BYTES)
        messages, answers = os.pipe()
        self._messages = io.FileIO(messages)
        try:
            self._process = subprocess.Popen(
                children.module_command("edge.cameras.backends.worker", str(memory), str(answers)),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                pass_fds=(memory, answers),
                start_new_session=True,  # so that processes that the back-end starts are killed with it
                env={**os.environ, **LIBRARIES},
            )
        finally:
            os.close(memory)
            os.close(answers)
        # On standard input: an address may hold a password, and every user can read command lines.
        self._tell(msgspec.json.encode(self._order) + b"\n")
        self._answer()
        self.loading = False
        self.description = self._answer().text

    def read(self) -> Frame:
        """The next frame; its pixels are a copy.

        Raises:
            ImageError: this one frame cannot be read.
            LeukoscopeError: the back-end failed, its process ended, or `close` was called.
        """
        self._tell(b"r")
        message = self._answer()
        memory = self._memory
        if memory is None:
            raise LeukoscopeError("the camera was closed")
        shape = (message.height, message.width, 3)
        shared = np.frombuffer(memory, np.uint8, count=message.height * message.width * 3)
        pixels = shared.reshape(shape).copy()
        return Frame(pixels, message.captured_at_ns, message.monotonic_ns, message.text, message.specimen)

    def close(self) -> None:
        """End the child.

        Raises:
            LeukoscopeError: the kernel cannot end it, because it blocks within a driver.
        """
        self._closed.set()
        process, self._process = self._process, None
        self._memory = None  # a read that is under way holds it until it ends
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise LeukoscopeError(
                f"camera {redact(self._order.settings.source)}: its process {process.pid} hangs within a driver and "
                "cannot be ended; unplug the camera and plug it back in, or restart the box"
            ) from error
        if process.stdin is not None:
            process.stdin.close()
        with self._answering:  # a read that is under way ends now
            messages, self._messages = self._messages, None
            if messages is not None:
                messages.close()

    def _tell(self, text: bytes) -> None:
        process = self._process
        # If the child has ended, or `close` was called meanwhile, `_answer` reports the reason.
        with contextlib.suppress(OSError, ValueError):
            if process is not None and process.stdin is not None:
                process.stdin.write(text)

    def _answer(self) -> Message:
        with self._answering:
            message = self._next_message()
        if message.kind in ERRORS:
            raise ERRORS[message.kind](message.text)
        return message

    def _next_message(self) -> Message:
        messages = self._messages
        if messages is None:
            raise LeukoscopeError("the camera is closed; open it before reading")
        ready = select.poll()
        ready.register(messages, select.POLLIN)
        while b"\n" not in self._rest:
            if ready.poll(POLL_MS):
                data = messages.read(65536)
                if not data:
                    raise self._ended()
                self._rest += data
            elif self._closed.is_set():
                raise self._ended()
        line, _, self._rest = self._rest.partition(b"\n")
        return msgspec.json.decode(line, type=Message)

    def _ended(self) -> LeukoscopeError:
        """Why the child has ended."""
        messages, self._messages, process = self._messages, None, self._process
        if messages is not None:
            messages.close()
        if self._closed.is_set() or process is None:
            return LeukoscopeError("the camera was closed")
        try:
            status: int | str = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = "unknown"
        return LeukoscopeError(f"the camera's process ended with status {status}")
