"""HTTP cameras that lie: each gives a picture or one clear fault, and never hangs, grows or crashes."""

import gzip
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from edge.cameras.backends.mjpeg import MjpegCamera, Splitter
from edge.cameras.settings import CameraSettings
from edge.errors import LeukoscopeError

Send = Callable[[bytes], None]

MULTIPART = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cell\r\n"
LIMIT_S = 8.0
PICTURE = cv2.imencode(".jpg", np.random.default_rng(1).integers(60, 200, (48, 64, 3), np.uint8))[1].tobytes()


def part(picture: bytes = PICTURE, length: int | None = None, boundary: bytes = b"cell") -> bytes:
    size = b"" if length is None else b"Content-Length: %d\r\n" % length
    return b"--" + boundary + b"\r\nContent-Type: image/jpeg\r\n" + size + b"\r\n" + picture + b"\r\n"


def repeated(body: bytes, head: bytes = MULTIPART + b"\r\n", times: int = 40, pause_s: float = 0.02):  # type: ignore[no-untyped-def]
    def serve(send: Send) -> None:
        send(head)
        for _ in range(times):
            send(body)
            time.sleep(pause_s)

    return serve


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def slow_drip(send: Send) -> None:
    body = MULTIPART + b"\r\n" + part() * 3
    for start in range(0, len(body), 30):
        send(body[start : start + 30])
        time.sleep(0.001)


def endless_header(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(10_000):
        send(b"x" * 4096)


def many_headers(send: Send) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        send(b"X-%d: y\r\n" % number)


def endless_text(send: Send) -> None:
    send(MULTIPART + b"\r\n")
    for _ in range(1000):
        send(part(b"this is no picture " * 100))


def endless_picture(send: Send) -> None:
    send(MULTIPART + b"\r\n" + PICTURE[: len(PICTURE) // 2])
    for _ in range(80):
        send(b"\x55" * (1 << 20))


HUGE = bytearray(PICTURE)
HUGE[HUGE.find(b"\xff\xc0") + 5 : HUGE.find(b"\xff\xc0") + 9] = b"\xff\x00\xff\x00"
COMPRESSED = MULTIPART + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(part() * 5)
CHUNKED = MULTIPART + b"Transfer-Encoding: chunked\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
REASON = b"HTTP/1.1 500 \x1b[31mforged\r\nContent-Length: 0\r\n\r\n"
OLD = MULTIPART.replace(b"1.1", b"1.0") + b"\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"

LIES: dict[str, tuple[Callable[[Send], None], str]] = {
    "length too small": (repeated(part(length=100)), ""),
    "length too large": (repeated(part(length=10**9)), ""),
    "no boundary named": (repeated(part(), MULTIPART.replace(b"; boundary=cell", b"") + b"\r\n"), ""),
    "another boundary": (repeated(part(boundary=b"other")), ""),
    "no boundary in the body": (repeated(PICTURE), ""),
    "chunks of one picture": (repeated(chunk(part(length=len(PICTURE))), CHUNKED), ""),
    "chunks of 50 bytes": (
        repeated(b"".join(chunk(part()[i : i + 50]) for i in range(0, len(part()), 50)), CHUNKED),
        "",
    ),
    "a chunk size that is none": (lambda send: send(CHUNKED + b"zz\r\n" + part()), "no more pictures"),
    "slow drip of 30 bytes": (slow_drip, ""),
    "old HTTP without length": (repeated(part(), OLD), ""),
    "closes after each picture": (lambda send: send(MULTIPART + b"\r\n" + part()), ""),
    "some pictures cut": (repeated(part(PICTURE[: len(PICTURE) // 2]) + part()), ""),
    "endless header": (endless_header, "cannot be reached"),
    "header bomb": (many_headers, "cannot be reached"),
    "no HTTP": (lambda send: send(b"\x16\x03\x01 hello\r\n\r\n"), "cannot be reached"),
    "nothing": (lambda _send: None, "cannot be reached"),
    "no picture, then the end": (lambda send: send(MULTIPART + b"\r\n"), "no more pictures"),
    "only pictures cut": (repeated(part(PICTURE[: len(PICTURE) // 2]), times=5), "no more pictures"),
    "a picture of 65280 px": (repeated(part(bytes(HUGE)), times=5), "no more pictures"),
    "text for ever": (endless_text, "without a JPEG picture"),
    "a picture without end": (endless_picture, "without the end of a picture"),
    "plain text": (lambda send: send(PLAIN), "text/plain, not Motion JPEG"),
    "redirect": (lambda send: send(REDIRECT), "the server says 302 Found; check the path"),
    "gzip": (lambda send: send(COMPRESSED), "compressed data"),
    "control characters in the reason": (lambda send: send(REASON), "camera http"),
}


@contextmanager
def lying(serve: Callable[[Send], None]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)

        def answer() -> None:
            try:
                client, _ = server.accept()
                with client:
                    client.settimeout(LIMIT_S)
                    client.recv(65536)
                    serve(client.sendall)
            except OSError:  # the camera hung up
                pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://lab:s3cret@127.0.0.1:{server.getsockname()[1]}/x?token=s3cret"
        thread.join(LIMIT_S)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("lie", LIES)
def test_a_camera_that_lies_gives_a_picture_or_one_clear_fault(lie: str) -> None:
    serve, fault = LIES[lie]
    before_mb, began_s = peak_mb(), time.monotonic()
    with lying(serve) as address:
        camera = MjpegCamera(CameraSettings(source=address))
        try:
            if fault:
                with pytest.raises(LeukoscopeError) as raised:
                    camera.open()
                text = str(raised.value)
                assert fault in text and "s3cret" not in text and text.isprintable()
            else:
                camera.open()
                frame = camera.retrieve()
                assert frame.pixels.shape == (48, 64, 3) and "s3cret" not in frame.source
        finally:
            camera.close()
    assert time.monotonic() - began_s < LIMIT_S
    assert peak_mb() - before_mb < 300


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_pictures_are_found_whatever_the_segments(size: int) -> None:
    thumbnail = b"Exif\0\0" + PICTURE
    with_thumbnail = (
        PICTURE[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + PICTURE[2:]
    )
    stream = b"".join(part(picture) for picture in (PICTURE, with_thumbnail, b"no picture", PICTURE))
    splitter = Splitter()
    found = [p for i in range(0, len(stream), size) for p in splitter.feed(stream[i : i + size])]
    assert found == [PICTURE, with_thumbnail, PICTURE]
