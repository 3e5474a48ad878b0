"""Motion JPEG over HTTP, as IP cameras and microscope servers stream it.

Such a stream carries no time stamps, so the only proof that a picture is new is that nothing waits behind
it: all that has come is read, and the last picture of it is taken. Only what is asked for is decoded.
"""

import base64
import http.client
import select
import socket
import ssl
import time
from typing import Any
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import numpy.typing as npt

from edge.cameras.pixels import as_rgb
from edge.cameras.settings import CameraSettings, address, without_password
from edge.errors import ImageError, LeukoscopeError
from edge.imaging.frame import Frame
from edge.imaging.preprocess import centre_crop

CONNECT_TIMEOUT_S = 10.0

QUIET_S = 0.004
"""A picture is the newest when nothing more has come for so long."""

CHUNK_BYTES = 1 << 18
MAX_PICTURE_BYTES = 64 << 20
"""What is larger is no picture: the stream is out of step."""

MAX_SKIPPED = 1000


class MjpegCamera:
    """A stream of JPEG pictures. Its reads may block for ever: run it in `edge.cameras.backends.child`.

    Args:
        settings: source is an http or https address.
        region_px: side of the centred square that is converted and given; 0 for the whole frame.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        self._address = address(settings.source)
        self._name = without_password(self._address)
        self._specimen = settings.specimen
        self._region_px = region_px
        self._connection: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._socket: socket.socket
        self._boundary = b""
        self._rest = bytearray()
        self._picture = b""
        self._grabbed_ns = 0
        self.description = ""

    def open(self) -> None:
        """Connect and wait for the first picture.

        Raises:
            LeukoscopeError: the server cannot be reached, refuses, or sends no Motion JPEG.
        """
        parts = urlsplit(self._address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        headers = {}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        try:
            self._connection = kind(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT_S)
            self._connection.request(
                "GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", headers=headers
            )
            self._socket = self._connection.sock
            self._response = self._connection.getresponse()
            self._socket.settimeout(None)  # how long a picture may take is the supervisor's business
        except (OSError, http.client.HTTPException) as error:
            raise LeukoscopeError(
                f"camera {self._name}: cannot be reached ({error or type(error).__name__}); is the camera on, and "
                "the address right?"
            ) from error
        self._boundary = self._agreed(self._response)
        self._rest = bytearray()
        self.grab()
        height, width = self._decoded().shape[:2]
        self.description = f"{width} x {height} px, Motion JPEG"

    def _agreed(self, response: http.client.HTTPResponse) -> bytes:
        """The boundary between two pictures."""
        if response.status != http.client.OK:
            hint = "; check user name and password" if response.status in (401, 403) else "; check the path"
            raise LeukoscopeError(
                f"camera {self._name}: the server says {response.status} {response.reason}{hint}"
            )
        boundary = response.headers.get_boundary()
        if not response.headers.get_content_type().startswith("multipart/") or not boundary:
            raise LeukoscopeError(
                f"camera {self._name}: sends {response.headers.get_content_type()}, not Motion JPEG (multipart/"
                "x-mixed-replace); give the camera's rtsp:// address, or a gstreamer:… pipeline"
            )
        return b"--" + boundary.removeprefix("--").encode()

    def grab(self) -> None:
        """Take the newest picture, reading over all that have waited.

        Raises:
            LeukoscopeError: the stream ended or is out of step.
        """
        found = b""
        for _ in range(MAX_SKIPPED):
            while (picture := self._next()) is not None:
                found = picture
            if found and not self._more_comes():
                break
            self._receive()
        self._picture, self._grabbed_ns = found, time.monotonic_ns()

    def _next(self) -> bytes | None:
        """The next whole picture of what was received, or None."""
        start = self._rest.find(self._boundary)
        head_end = self._rest.find(b"\r\n\r\n", start) if start >= 0 else -1
        if head_end < 0:
            return None
        length = _content_length(bytes(self._rest[start:head_end]))
        body = head_end + 4
        end = body + length if length else self._rest.find(self._boundary, body)
        if end < 0 or end > len(self._rest):
            return None
        picture = bytes(self._rest[body:end])
        del self._rest[:end]
        return picture

    def _more_comes(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], QUIET_S)[0])

    def _receive(self) -> None:
        if self._response is None:
            raise LeukoscopeError("the camera is closed; open it before reading")
        try:
            data = self._response.read1(CHUNK_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LeukoscopeError(f"camera {self._name}: gives no more pictures ({error})") from error
        if not data:
            raise LeukoscopeError(f"camera {self._name}: gives no more pictures; is it still connected?")
        self._rest += data
        if len(self._rest) > MAX_PICTURE_BYTES:
            raise LeukoscopeError(
                f"camera {self._name}: {len(self._rest)} bytes without the end of a picture; not Motion JPEG"
            )

    def retrieve(self) -> Frame:
        """The picture that was grabbed.

        Raises:
            ImageError: it cannot be decoded.
        """
        age_ns = time.monotonic_ns() - self._grabbed_ns
        wall_ns = time.time_ns() - age_ns
        picture = self._decoded()
        side = self._region_px
        if side and (picture.shape[0] > side or picture.shape[1] > side):
            picture = centre_crop(picture, side)
        return Frame(as_rgb(picture, blue_first=True), wall_ns, self._grabbed_ns, self._name, self._specimen)

    def _decoded(self) -> npt.NDArray[Any]:
        picture = cv2.imdecode(np.frombuffer(self._picture, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise ImageError(f"camera {self._name}: a picture of {len(self._picture)} bytes is no JPEG")
        return picture

    def read(self) -> Frame:
        """The next frame; see `grab` and `retrieve`."""
        self.grab()
        return self.retrieve()

    def close(self) -> None:
        """Hang up."""
        for part in (self._response, self._connection):
            if part is not None:
                part.close()
        self._connection = self._response = None


def _content_length(head: bytes) -> int:
    """Of one picture; 0 where its header does not tell."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value)
    return 0
