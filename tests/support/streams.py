"""Camera streams served on loopback, that tests may freeze, stall, kill and start again."""

import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.frame import Pixels

BITS, BLOCK_PX = 28, 16
RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
SYSTEM_PYTHON = "/usr/bin/python3"


def stamped(picture: Pixels, milliseconds: int) -> Pixels:
    """The picture with a number in its middle, as black and white blocks that survive JPEG."""
    out = picture.copy()
    top, left = out.shape[0] // 2 - BLOCK_PX // 2, out.shape[1] // 2 - BITS * BLOCK_PX // 2
    for bit in range(BITS):
        x = left + bit * BLOCK_PX
        out[top : top + BLOCK_PX, x : x + BLOCK_PX] = 255 if milliseconds >> bit & 1 else 0
    return out


def stamp_of(picture: Pixels) -> int:
    """The number in the middle of a picture, or of a centred square of it."""
    row = picture[picture.shape[0] // 2, :, 1]
    left = picture.shape[1] // 2 - BITS * BLOCK_PX // 2
    return sum(int(row[left + bit * BLOCK_PX + BLOCK_PX // 2] > 127) << bit for bit in range(BITS))


def milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000 % (1 << BITS)


class MjpegServer:
    """Motion JPEG over HTTP. `mode` is "live", "frozen", "black", "white" or "stalled" (open, but silent)."""

    def __init__(self, width: int = 640, height: int = 480, fps: float = 30.0, port: int = 0):
        self.mode = "live"
        self.width, self.height, self.fps = width, height, fps
        self.frames = 0
        self._stop = threading.Event()
        self._frozen = self._picture()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cell")
                self.end_headers()
                try:
                    outer.stream(self.wfile.write)
                except OSError:  # the client went
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/stream.mjpg"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def _picture(self) -> bytes:
        kind = {"black": 0, "white": 255}.get(self.mode)
        if kind is None:
            # Coarse noise: changes from frame to frame, and is cheap to encode.
            coarse = np.random.default_rng(self.frames).integers(60, 200, (30, 40, 3), np.uint8)
            picture = cv2.resize(coarse, (self.width, self.height), interpolation=cv2.INTER_NEAREST)
            picture = stamped(picture, milliseconds())
        else:
            picture = np.full((self.height, self.width, 3), kind, np.uint8)
        return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()

    def stream(self, write) -> None:  # type: ignore[no-untyped-def]
        due_s = time.monotonic()
        while not self._stop.is_set():
            if self.mode != "stalled":
                data = self._frozen if self.mode == "frozen" else self._picture()
                if self.mode == "live":
                    self._frozen = data
                head = f"--cell\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                write(head.encode() + data + b"\r\n")
                self.frames += 1
            due_s += 1 / self.fps
            self._stop.wait(max(0.0, due_s - time.monotonic()))

    def close(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "MjpegServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RtspServer:
    """GStreamer's RTSP server; skips the test where it is not installed."""

    def __init__(self, width: int = 640, height: int = 480, fps: int = 25):
        probe = (
            "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
        )
        if (
            not shutil.which("gst-launch-1.0")
            or subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True).returncode
        ):
            pytest.skip(
                "no RTSP server: apt install gstreamer1.0-tools gstreamer1.0-plugins-good python3-gi "
                "gir1.2-gst-rtsp-server-1.0"
            )
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(RTSP_SERVER), str(width), str(height), str(fps)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.address = f"rtsp://127.0.0.1:{self.port}/cells"

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "RtspServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
