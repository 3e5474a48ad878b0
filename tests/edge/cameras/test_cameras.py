"""What every camera back-end has to do, tried on each: files, video, simulator, streams, devices."""

import dataclasses
import itertools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import streams
from pictures import pictures
from streams import MjpegServer, RtspServer, milliseconds, stamp_of

from edge.cameras.backends.files import FilesCamera
from edge.cameras.backends.mjpeg import MjpegCamera
from edge.cameras.backends.opencv import StreamClock
from edge.cameras.backends.simulator import SimulatorSettings
from edge.cameras.base import Camera
from edge.cameras.pixels import as_rgb
from edge.cameras.settings import CameraSettings, address
from edge.cameras.sources import make_camera
from edge.errors import ImageError, InputError, LeukoscopeError
from edge.host.secrets import shown_address
from edge.imaging.files import read_image
from edge.imaging.preprocess import Geometry, prepare
from edge.settings import load

SUPPORT = Path(streams.__file__).parent


@dataclasses.dataclass
class Kind:
    """A back-end that is ready to be opened."""

    settings: CameraSettings
    region_px: int = 0

    def camera(self) -> Camera:
        return make_camera(self.settings, SimulatorSettings(), self.region_px)


@contextmanager
def files(tmp_path: Path, _: pytest.MonkeyPatch) -> Iterator[Kind]:
    pictures(tmp_path / "cells", 3)
    yield Kind(CameraSettings(source=f"files:{tmp_path / 'cells'}", loop=True))


@contextmanager
def video(tmp_path: Path, _: pytest.MonkeyPatch) -> Iterator[Kind]:
    yield Kind(CameraSettings(source=f"files:{make_video(tmp_path)}", loop=True))


@contextmanager
def simulator(_: Path, __: pytest.MonkeyPatch) -> Iterator[Kind]:
    yield Kind(CameraSettings(fps=50))


@contextmanager
def mjpeg(_: Path, __: pytest.MonkeyPatch) -> Iterator[Kind]:
    with MjpegServer() as server:
        yield Kind(CameraSettings(source=server.address), 448)


@contextmanager
def rtsp(_: Path, __: pytest.MonkeyPatch) -> Iterator[Kind]:
    with RtspServer() as server:
        yield Kind(CameraSettings(source=server.address), 448)


@contextmanager
def gstreamer(_: Path, __: pytest.MonkeyPatch) -> Iterator[Kind]:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0: apt install gstreamer1.0-tools")
    source = "gstreamer:videotestsrc is-live=true pattern=snow"
    # 449 px make rows of RGB that GStreamer pads.
    yield Kind(CameraSettings(source=source, width=449, height=333, fps=30), 300)


@contextmanager
def picamera2(tmp_path: Path, patch: pytest.MonkeyPatch) -> Iterator[Kind]:
    if source := os.environ.get("LEUKOSCOPE_PICAMERA2"):  # a real one
        yield Kind(CameraSettings(source=source, width=640, height=480), 448)
        return
    shutil.copy(SUPPORT / "fake_picamera2.py", tmp_path / "picamera2.py")
    patch.setenv("PYTHONPATH", str(tmp_path))
    held = {"exposure_us": 5000, "gain": 1.0, "red_gain": 2.0, "blue_gain": 1.5}
    yield Kind(CameraSettings(source="picamera2:0", width=640, height=480, fps=30, **held), 448)


@contextmanager
def v4l2(_: Path, __: pytest.MonkeyPatch) -> Iterator[Kind]:
    device = os.environ.get("LEUKOSCOPE_CAMERA", "/dev/video0")
    if not Path(device).exists():
        pytest.skip(f"no camera at {device}; load the kernel module vivid, or name one in LEUKOSCOPE_CAMERA")
    yield Kind(CameraSettings(source=device, width=640, height=480, fps=30), 448)


KINDS = [files, video, simulator, mjpeg, rtsp, gstreamer, picamera2, v4l2]
LIVE = [kind for kind in KINDS if kind not in (files, video)]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    with request.param(tmp_path, monkeypatch) as ready:
        yield ready


@pytest.fixture(params=LIVE, ids=lambda kind: kind.__name__)
def live(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    with request.param(tmp_path, monkeypatch) as ready:
        yield ready


def make_video(folder: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg to make a video with: apt install ffmpeg")
    file = folder / "slide" / "clip.mp4"
    file.parent.mkdir()
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10:duration=0.5"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *source, str(file)], check=True, timeout=60)
    return file


def test_frames_are_rgb_new_and_dated(kind: Kind) -> None:
    camera = kind.camera()
    began_ns, began_wall_ns = time.monotonic_ns(), time.time_ns()
    camera.open()
    try:
        assert camera.description
        frames = [camera.read() for _ in range(4)]
    finally:
        camera.close()
    for frame in frames:
        assert frame is not None
        assert frame.pixels.dtype == np.uint8 and frame.pixels.ndim == 3 and frame.pixels.shape[2] == 3
        if kind.region_px:
            assert frame.pixels.shape[0] <= kind.region_px
        assert began_ns <= frame.monotonic_ns <= time.monotonic_ns()
        # Both clocks tell the same moment, but for a clock that NTP pulls along.
        assert abs((frame.captured_at_ns - began_wall_ns) - (frame.monotonic_ns - began_ns)) < 50e6
        assert frame.source
    stamps = [frame.monotonic_ns for frame in frames if frame]
    assert stamps == sorted(set(stamps))
    assert not any(np.array_equal(a.pixels, b.pixels) for a, b in itertools.pairwise(frames))  # type: ignore[union-attr]


def test_it_can_be_closed_twice_and_opened_again(kind: Kind) -> None:
    camera = kind.camera()
    for _ in range(2):
        camera.open()
        assert camera.read() is not None
        camera.close()
        camera.close()


def open_pipes() -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).startswith("pipe:") for link in links)


def test_a_closed_camera_leaves_no_pipe_open(live: Kind) -> None:
    before = open_pipes()
    camera = live.camera()
    camera.open()
    camera.close()
    assert open_pipes() <= before


def test_a_live_camera_that_was_left_alone_gives_a_fresh_frame(live: Kind) -> None:
    camera = live.camera()
    camera.open()
    try:
        camera.read()
        time.sleep(1.0)
        asked_ns = time.monotonic_ns()
        frame = camera.read()
    finally:
        camera.close()
    assert frame is not None
    assert camera.live
    assert frame.monotonic_ns > asked_ns - 400e6  # not one from the second before


def test_a_stamp_in_the_picture_is_the_time_of_the_record() -> None:
    with MjpegServer(width=1920, height=1080) as server:
        camera = make_camera(CameraSettings(source=server.address), SimulatorSettings(), 480)
        camera.open()
        try:
            for pause_s in (0.0, 1.0, 0.0, 2.0, 0.0):
                time.sleep(pause_s)
                asked = milliseconds()
                frame = camera.read()
                assert frame is not None
                shown = stamp_of(frame.pixels)
                # Drawn, encoded, sent and decoded in between, on a busy machine; but never from before the pause.
                assert shown > asked - 400
                assert abs(frame.monotonic_ns // 1_000_000 % (1 << 28) - shown) < 400
        finally:
            camera.close()


def test_after_a_pause_nothing_comes_that_was_drawn_before_it() -> None:
    with MjpegServer() as server:
        camera = make_camera(CameraSettings(source=server.address), SimulatorSettings(), 480)
        camera.open()
        try:
            for _ in range(30):
                camera.read()
            worker = camera._process.pid  # type: ignore[attr-defined]
            os.kill(worker, signal.SIGSTOP)  # the stream goes on, into the buffers on the way
            time.sleep(1.5)
            os.kill(worker, signal.SIGCONT)
            resumed = milliseconds()
            shown = [stamp_of(frame.pixels) for frame in (camera.read() for _ in range(5)) if frame]
        finally:
            camera.close()
    assert min(shown) > resumed - 500


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("401 Unauthorized", "check user name and password"),
        ("404 Not Found", "check the path"),
        ("200 OK", "sends text/html, not Motion JPEG"),
    ],
)
def test_a_server_that_gives_no_pictures_is_named_with_its_answer(answer: str, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(
                    f"HTTP/1.1 {answer}\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n".encode()
                )

        threading.Thread(target=serve, daemon=True).start()
        camera = MjpegCamera(
            CameraSettings(source=f"http://user:s3cret@127.0.0.1:{server.getsockname()[1]}/x")
        )
        with pytest.raises(LeukoscopeError, match=message) as refused:
            camera.open()
        camera.close()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "/dev/video99"}, "no such device"),
        ({"source": "rtsp://127.0.0.1:1/x"}, "cannot be reached"),
        ({"source": "http://127.0.0.1:1/x"}, "cannot be reached"),
        ({"source": "gstreamer:nonsense", "width": 64, "height": 64}, "nonsense"),
        ({"source": "gstreamer:videotestsrc"}, "camera.width and camera.height"),
        ({"source": "picamera2:0"}, "python3-picamera2"),
        ({"source": "files:nowhere"}, "no such file or folder"),
        ({"source": "${ADDRESS_OF_NOTHING}"}, "camera.source is"),
        ({"source": "rtsp://a:${NOT_SET}@b/"}, "NOT_SET"),
    ],
)
def test_what_cannot_be_opened_says_why(
    settings: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADDRESS_OF_NOTHING", "ftp://x")
    if settings["source"] == "gstreamer:nonsense" and shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0")
    with pytest.raises(LeukoscopeError, match=message):
        camera = make_camera(CameraSettings(**settings), SimulatorSettings())  # type: ignore[arg-type]
        try:
            camera.open()
        finally:
            camera.close()


@pytest.mark.parametrize("source", ["ftp://x", "video0", "picamera2:first", "files", "gstreamer:", ""])
def test_a_source_that_nothing_reads_is_a_fault_of_the_settings(source: str, tmp_path: Path) -> None:
    file = tmp_path / "leukoscope.toml"
    file.write_text(f'[camera]\nsource = "{source}"\n')
    with pytest.raises(
        InputError, match=r"line 2: \[camera\] source is not a known kind .*; give picamera2:N, "
    ):
        load(file)


def test_a_password_comes_from_the_environment_and_shows_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "s3cret")
    source = "rtsp://lab:${CAMERA_PASSWORD}@127.0.0.1:1/cells"
    assert "s3cret" in address(source)
    camera = make_camera(CameraSettings(source=source), SimulatorSettings())
    with pytest.raises(LeukoscopeError) as refused:
        camera.open()
    camera.close()
    assert "s3cret" not in str(refused.value)
    assert shown_address(address(source)) == "rtsp://127.0.0.1:1/cells"


@pytest.mark.parametrize("pixel_format", ["BGR888", "RGB888", "YUV420", "NV12"])
def test_whatever_picamera2_gives_is_red_where_it_is_red(
    pixel_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FORMAT", pixel_format)
    with picamera2(tmp_path, monkeypatch) as kind:
        camera = dataclasses.replace(kind, region_px=0).camera()
        camera.open()
        frame = camera.read()
        camera.close()
    assert frame is not None and frame.pixels.shape == (480, 640, 3)
    assert pixel_format in camera.description
    red, green, blue = frame.pixels.mean(axis=(0, 1))
    assert red == pytest.approx(69, abs=6)  # of 5000 µs: 50 and the noise's 19.5
    assert green == pytest.approx(20, abs=6) and blue == pytest.approx(20, abs=6)


def test_a_childs_death_is_an_error_and_not_a_hang() -> None:
    with MjpegServer() as server:
        camera = make_camera(CameraSettings(source=server.address), SimulatorSettings(), 448)
        camera.open()
        camera._process.kill()  # type: ignore[attr-defined]
        with pytest.raises(LeukoscopeError, match="process ended"):
            while True:
                camera.read()
        camera.close()


def test_images_once_in_order_and_then_no_more(tmp_path: Path) -> None:
    pictures(tmp_path / "slide 7", 3)
    camera = FilesCamera(tmp_path)
    camera.open()
    frames = [camera.read() for _ in range(4)]
    assert [Path(frame.source).name if frame else None for frame in frames] == [
        "0.png",
        "1.png",
        "2.png",
        None,
    ]
    assert {frame.specimen for frame in frames if frame} == {"slide 7"}


def test_a_loop_of_unreadable_images_ends(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    camera = FilesCamera(tmp_path, loop=True)
    camera.open()
    with pytest.raises(ImageError):
        camera.read()
    assert camera.read() is None


def test_a_video_gives_each_frame_once(tmp_path: Path) -> None:
    file = make_video(tmp_path)
    camera = make_camera(CameraSettings(source=f"files:{file}"), SimulatorSettings())
    camera.open()
    frames = list(iter(camera.read, None))
    assert [frame.source.rpartition(" ")[2] for frame in frames] == ["0", "1", "2", "3", "4"]
    assert frames[0].specimen == "slide"
    file.write_bytes(b"no video")
    with pytest.raises(ImageError, match="not a readable video"):
        camera.open()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((480, 640), np.uint8),
        ((480, 640, 1), np.uint16),
        ((333, 101, 3), np.uint8),
        ((31, 7, 3), np.uint16),
        ((480, 640, 4), np.uint8),
        ((1, 1, 3), np.uint8),
        ((2000, 8192, 3), np.uint8),
    ],
)
def test_frames_of_any_form_become_the_networks_input(shape: tuple[int, ...], dtype: type) -> None:
    full = np.iinfo(dtype).max
    picture = np.full(shape, full // 2, dtype)
    pixels = as_rgb(picture, blue_first=True)
    assert pixels.shape == (*shape[:2], 3) and pixels.dtype == np.uint8
    assert abs(int(pixels[0, 0, 0]) - 127) <= 1
    assert prepare(pixels, Geometry(320, 224)).shape == (224, 224, 3)


def test_channels_are_put_in_order_and_alpha_is_dropped() -> None:
    bgra = np.zeros((4, 4, 4), np.uint8)
    bgra[:] = (10, 20, 30, 40)
    assert as_rgb(bgra, blue_first=True)[0, 0].tolist() == [30, 20, 10]
    assert as_rgb(bgra, blue_first=False)[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("picture", [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_other_forms_are_refused_by_name(picture: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ImageError, match=r"shape \(4, 4, 2\)|float32"):
        as_rgb(picture, blue_first=True)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_files_of_any_depth_and_channels_are_read(
    tmp_path: Path, suffix: str, channels: int, dtype: type
) -> None:
    picture = np.full((33, 51, channels), np.iinfo(dtype).max // 4, dtype)
    file = tmp_path / f"x.{suffix}"
    assert cv2.imwrite(str(file), picture)
    pixels = read_image(file)
    assert pixels.shape == (33, 51, 3)
    assert abs(int(pixels[5, 5, 1]) - 63) <= 1


def test_a_streams_clock_sees_what_waited_in_a_buffer_and_not_a_clock_that_drifts() -> None:
    clock = StreamClock()
    late = [clock.late_ns(round(t * 1e9 * 1.00005), round(t * 1e9)) for t in np.arange(0, 600, 0.04)]
    assert max(late) < 20e6  # 50 ppm over ten minutes are 30 ms
    assert 0.45e9 < clock.late_ns(round(600.5e9 * 1.00005), round(600e9)) < 0.55e9
    assert clock.late_ns(round(700e9), 0) == 0  # the camera started again


def test_settings_say_which_crop() -> None:
    assert CameraSettings().crop_px(320, 0.0) == 320
    assert CameraSettings(scale=1.5).crop_px(320, 0.0) == 480
    assert CameraSettings(microns_per_pixel=0.05).crop_px(320, 0.1) == 640
    assert CameraSettings(crop=100, scale=3.0).crop_px(320, 0.0) == 100
    with pytest.raises(InputError, match="does not give its own scale"):
        CameraSettings(microns_per_pixel=0.05).crop_px(320, 0.0)
