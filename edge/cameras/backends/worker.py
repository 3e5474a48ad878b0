"""The child process that `edge.cameras.backends.child` starts: it owns one camera and sends its frames.

It reads all the time, so that no old frame waits in a driver's queue, but decodes and converts only requested frames.
"""

import mmap
import os
import signal
import sys
import threading

import msgspec
import numpy as np

from edge.cameras.backends.child import LARGEST_FRAME_BYTES, Message, Order
from edge.cameras.base import DeviceCamera
from edge.cameras.settings import CameraSettings
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.host.secrets import redact


def make_backend(settings: CameraSettings, region_px: int) -> DeviceCamera:
    """The back-end of a source whose reads may block.

    Args:
        region_px: side of the centred square that is given; 0 for the whole frame.

    Raises:
        InputError: no back-end knows that source.
    """
    scheme = settings.source.partition(":")[0]
    if scheme == "picamera2":
        from edge.cameras.backends.picamera2 import Picamera2Camera

        return Picamera2Camera(settings, region_px)
    if scheme == "gstreamer":
        from edge.cameras.backends.gstreamer import GStreamerCamera

        return GStreamerCamera(settings, region_px)
    if scheme in ("http", "https"):
        from edge.cameras.backends.mjpeg import MjpegCamera

        return MjpegCamera(settings, region_px)
    from edge.cameras.backends.opencv import OpenCvCamera

    return OpenCvCamera(settings, region_px)


def main() -> None:
    """Open the camera that standard input names, and give a frame for each further byte there."""
    memory_fd, answers_fd = int(sys.argv[1]), int(sys.argv[2])
    memory = mmap.mmap(memory_fd, LARGEST_FRAME_BYTES)

    def answer(message: Message) -> None:
        os.write(answers_fd, msgspec.json.encode(message) + b"\n")

    order = msgspec.json.decode(_line(), type=Order)
    wanted = threading.Event()
    threading.Thread(target=_listen, args=(wanted,), daemon=True).start()
    try:
        camera = make_backend(order.settings, order.region_px)
        answer(Message("loaded"))
        camera.open()
        answer(Message("opened", redact(camera.description)))
        while True:
            camera.grab()
            if wanted.is_set():
                wanted.clear()
                _give(camera, memory, answer)
    except InputError as error:
        answer(Message("input", redact(str(error))))
    except LeukoscopeError as error:
        answer(Message("camera", redact(str(error))))
    except Exception as error:  # the process's top: whatever a driver's library raises is the camera's fault
        answer(Message("camera", redact(f"{type(error).__name__}: {error}")))


def _give(camera: DeviceCamera, memory: mmap.mmap, answer) -> None:  # type: ignore[no-untyped-def]
    try:
        frame = camera.retrieve()
    except ImageError as error:
        answer(Message("image", redact(str(error))))
        return
    height, width = frame.pixels.shape[:2]
    shared = np.frombuffer(memory, np.uint8, count=frame.pixels.size)
    np.copyto(shared.reshape(frame.pixels.shape), frame.pixels)
    answer(
        Message(
            "frame", frame.source, height, width, frame.captured_at_ns, frame.monotonic_ns, frame.specimen
        )
    )


def _line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit("the parent has ended")
        line += byte
    return line


def _listen(wanted: threading.Event) -> None:
    """Take requests; if the parent has ended, kill this process and its children, even while a driver blocks."""
    while os.read(0, 1):
        wanted.set()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
