"""Motion JPEG over HTTP, as IP cameras and microscope servers stream it.

Such a stream has no time stamps, so a picture is known to be the newest only if no data waits behind it: all received
data is read, and its last picture is taken. Only requested pictures are decoded.

Pictures are found by JPEG's own markers: lengths and boundaries that a camera sends are often wrong.
"""

import base64
import email.message
import select
import socket
import ssl
import time
from urllib.parse import unquote, urlsplit

import h11

from edge.cameras.base import DeviceCamera
from edge.cameras.settings import CameraSettings, address
from edge.errors import ImageError, LeukoscopeError
from edge.host.secrets import shown_address
from edge.host.text import harmless
from edge.imaging.decode import decode
from edge.imaging.frame import Frame
from edge.imaging.preprocess import centre

CONNECT_TIMEOUT_S = 10.0

QUIET_S = 0.004
"""A picture is the newest if no more data has come for this time."""

DRAIN_S = 1.0
"""If data never stops coming, the last picture that came within this time is taken."""

CHUNK_BYTES = 1 << 18
MAX_HEADER_BYTES = 1 << 16
MAX_PICTURE_BYTES = 64 << 20
"""Limit of one picture; more data is not a picture."""

MAX_OTHER_BYTES = 1 << 20
"""With this much data and no start of a picture, it is not Motion JPEG."""


class Splitter:
    """Cuts a stream into JPEG pictures, whatever stands between them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._searched = self._skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The complete pictures so far; a picture in which another begins is given up to there.

        Raises:
            LeukoscopeError: this is no Motion JPEG; the message says why, without the camera's name.
        """
        self._data += data
        found = []
        while (picture := self._next()) is not None:
            found.append(picture)
        return found

    def _next(self) -> bytes | None:
        rest = self._data
        if not rest.startswith(b"\xff\xd8\xff"):
            start = rest.find(b"\xff\xd8\xff")
            drop = start if start >= 0 else max(0, len(rest) - 2)
            self._skipped += drop
            del rest[:drop]
            self._searched = 0
            if self._skipped > MAX_OTHER_BYTES:
                raise LeukoscopeError(f"{MAX_OTHER_BYTES} bytes without a JPEG picture; not Motion JPEG")
            if start < 0:
                return None
        end = self._end()
        if end:
            picture = bytes(rest[:end])
            del rest[:end]
            self._searched = self._skipped = 0
            return picture
        if len(rest) > MAX_PICTURE_BYTES:
            raise LeukoscopeError(
                f"over {MAX_PICTURE_BYTES} bytes without the end of a picture; not Motion JPEG"
            )
        return None

    def _end(self) -> int:
        """The byte after the picture at the start; 0 if it has not come yet."""
        rest = self._data
        position = self._searched or 2
        while not self._searched:  # segments, of which one may hold a thumbnail with its own markers
            if position + 4 > len(rest):
                return 0
            if rest[position] != 0xFF or rest[position + 1] in (0xD8, 0xD9):
                break  # not a segment: search for the next marker from here
            if rest[position + 1] == 0xFF:
                position += 1
                continue
            scan = rest[position + 1] == 0xDA
            position += 2 + int.from_bytes(rest[position + 2 : position + 4], "big")
            if scan:
                break
        end = rest.find(b"\xff\xd9", position)
        other = rest.find(b"\xff\xd8\xff", position, end if end >= 0 else len(rest))
        self._searched = max(position, len(rest) - 2)
        if other >= 0:  # compressed data never contains this: the first picture is truncated
            return other
        return end + 2 if end >= 0 else 0


class Stream:
    """The body of the answer to one HTTP request.

    Args:
        url: http or https, with user and password where the camera asks for them.
        name: what messages call the camera.
    """

    def __init__(self, url: str, name: str):
        self._name = name
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        headers = [("Host", parts.netloc.rpartition("@")[2]), ("User-Agent", "leukoscope"), ("Accept", "*/*")]
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers.append(("Authorization", f"Basic {base64.b64encode(login).decode()}"))
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        secure = parts.scheme == "https"
        try:
            self._socket = socket.create_connection(
                (parts.hostname or "", parts.port or (443 if secure else 80)), CONNECT_TIMEOUT_S
            )
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        try:
            if secure:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
            request = h11.Request(method="GET", target=target, headers=headers)
            self._send(request, h11.EndOfMessage())
            self.response = self._answer()
        except (OSError, ValueError, h11.ProtocolError) as error:
            self.close()
            raise self._unreachable(error) from error
        except BaseException:
            self.close()
            raise

    def _unreachable(self, error: Exception) -> LeukoscopeError:
        reason = harmless(error) or type(error).__name__
        return LeukoscopeError(
            f"camera {self._name}: cannot be reached ({reason}); check that the camera is on and the address is right"
        )

    def _send(self, *events: h11.Request | h11.EndOfMessage) -> None:
        for event in events:
            self._socket.sendall(self._http.send(event) or b"")

    def _answer(self) -> h11.Response:
        deadline_s = time.monotonic() + CONNECT_TIMEOUT_S
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self._socket.settimeout(None)  # the supervisor limits how long a picture may take
                return event
            if event is h11.NEED_DATA:
                if time.monotonic() > deadline_s:
                    raise TimeoutError(f"no complete answer within {CONNECT_TIMEOUT_S:g} s")
                self._http.receive_data(self._socket.recv(CHUNK_BYTES))
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the connection was closed without an answer")

    def receive(self) -> bytes:
        """The data of the body that has arrived; waits for at least one byte.

        Raises:
            LeukoscopeError: it ended, or what comes is no HTTP.
        """
        found = b""
        try:
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Data):
                    found += event.data
                elif event is h11.NEED_DATA:
                    if found:
                        return found
                    self._http.receive_data(self._socket.recv(CHUNK_BYTES))
                elif found:
                    return found
                else:
                    raise LeukoscopeError(
                        f"camera {self._name}: gives no more pictures; check its cable or network"
                    )
        except (OSError, ValueError, h11.ProtocolError) as error:
            if found:
                return found
            raise LeukoscopeError(
                f"camera {self._name}: gives no more pictures ({harmless(error)})"
            ) from error

    def more_waits(self) -> bool:
        """Whether more data has come or comes within `QUIET_S`. All data received before was already taken from h11."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        return bool(select.select([self._socket], [], [], QUIET_S)[0])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class MjpegCamera(DeviceCamera):
    """A stream of JPEG pictures. Its reads may block for ever: run it in `edge.cameras.backends.child`.

    Args:
        settings: source is an http or https address.
        region_px: side of the centred square that is given; 0 for the whole frame.
    """

    live = True

    def __init__(self, settings: CameraSettings, region_px: int = 0):
        self._address = address(settings.source)
        self._name = shown_address(self._address)
        self._specimen = settings.specimen
        self._region_px = region_px
        self._stream: Stream | None = None
        self._splitter = Splitter()
        self._picture = b""
        self._grabbed_ns = 0
        self.description = ""

    def open(self) -> None:
        """Connect and wait for the first picture.

        Raises:
            LeukoscopeError: the server cannot be reached, refuses, or sends no Motion JPEG.
        """
        self.close()
        self._splitter = Splitter()
        self._stream = Stream(self._address, self._name)
        self._refuse_other_answers(self._stream.response)
        while True:
            self.grab()
            try:
                height, width = self.retrieve_whole().pixels.shape[:2]
            except ImageError:  # skip this one; the supervisor limits how long this may take
                continue
            break
        self.description = f"{width} x {height} px, Motion JPEG"

    def _refuse_other_answers(self, response: h11.Response) -> None:
        headers = email.message.Message()
        for name, value in response.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        if response.status_code != 200:
            reason = harmless(response.reason.decode("latin-1"))
            hint = "check user name and password" if response.status_code in (401, 403) else "check the path"
            raise LeukoscopeError(
                f"camera {self._name}: the server says {response.status_code} {reason}; {hint}"
            )
        if not headers.get_content_type().startswith("multipart/"):
            raise LeukoscopeError(
                f"camera {self._name}: sends {harmless(headers.get_content_type())}, not Motion JPEG (multipart/"
                "x-mixed-replace); give the camera's rtsp:// address, or a gstreamer:… pipeline"
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise LeukoscopeError(
                f"camera {self._name}: sends compressed data ({harmless(headers['content-encoding'])}), which was "
                "not asked for; switch it off in the camera"
            )

    def grab(self) -> None:
        """Take the newest picture and drop older ones that waited.

        Raises:
            LeukoscopeError: the stream ended or is no Motion JPEG.
        """
        stream = self._stream
        if stream is None:
            raise LeukoscopeError("the camera is closed; open it before reading")
        newest, until_s = b"", 0.0
        while True:
            try:
                pictures = self._splitter.feed(stream.receive())
            except LeukoscopeError as error:
                if newest:  # its last picture is valid; the next call reports the end
                    break
                text = str(error)
                raise LeukoscopeError(
                    text if text.startswith("camera ") else f"camera {self._name}: {text}"
                ) from error
            if pictures:
                newest = pictures[-1]
                until_s = until_s or time.monotonic() + DRAIN_S
            if newest and (time.monotonic() > until_s or not stream.more_waits()):
                break
        self._picture, self._grabbed_ns = newest, time.monotonic_ns()

    def retrieve(self) -> Frame:
        """The picture that was grabbed.

        Raises:
            ImageError: it is damaged.
        """
        frame = self.retrieve_whole()
        if not self._region_px:
            return frame
        part = centre(frame.pixels, self._region_px)
        return Frame(part, frame.captured_at_ns, frame.monotonic_ns, frame.source, frame.specimen)

    def retrieve_whole(self) -> Frame:
        """The picture that was grabbed, all of it.

        Raises:
            ImageError: it is damaged.
        """
        age_ns = time.monotonic_ns() - self._grabbed_ns
        wall_ns = time.time_ns() - age_ns
        try:
            pixels = decode(self._picture)
        except ImageError as error:
            raise ImageError(
                f"camera {self._name}: a picture of {len(self._picture)} bytes: {error}"
            ) from error
        return Frame(pixels, wall_ns, self._grabbed_ns, self._name, self._specimen)

    def close(self) -> None:
        """Hang up."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
