"""Faults around cameras: full pipes, secrets, threads that cannot be made, names that must stay as written."""

import logging
import os
import shutil
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from broker import eventually
from pictures import pictures

from edge.cameras import capture as capture_module
from edge.cameras.backends.simulator import SimulatorSettings
from edge.cameras.capture import Capture
from edge.cameras.optics import measure_field, save
from edge.cameras.settings import CameraSettings, address
from edge.cameras.sources import make_camera
from edge.errors import LeukoscopeError
from edge.host import threads
from edge.imaging.frame import Frame


def needs_gstreamer() -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0: apt install gstreamer1.0-tools")


def test_a_pipeline_that_warns_at_each_frame_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gst-launch-1.0"
    program.write_text(
        "#!/usr/bin/env python3\nimport os\n"
        "while True:\n    os.write(2, b'WARNING: ' + b'x' * 1000 + b'\\n')\n    os.write(1, os.urandom(32 * 32 * 3))\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = CameraSettings(source="gstreamer:anything", width=32, height=32)
    camera = make_camera(settings, SimulatorSettings())
    camera.open()
    try:
        for _ in range(400):
            assert camera.read() is not None
    finally:
        camera.close()


def command_lines() -> str:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


@pytest.mark.parametrize(
    "pipeline",
    ["videotestsrc name=${PIPELINE_SECRET}", "videotestsrc name=geheim4711 ! identity name=password"],
)
def test_a_secret_of_a_pipeline_is_on_no_command_line(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_gstreamer()
    monkeypatch.setenv("PIPELINE_SECRET", "geheim4711")
    settings = CameraSettings(source=f"gstreamer:{pipeline}", width=64, height=48)
    camera = make_camera(settings, SimulatorSettings())
    camera.open()
    try:
        frame = camera.read()
        seen = command_lines()
    finally:
        camera.close()
    assert frame is not None and frame.pixels.shape == (48, 64, 3)
    assert "geheim4711" not in seen and "gst_launcher" in seen


def test_a_faulty_pipeline_with_a_secret_says_why_and_not_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_gstreamer()
    monkeypatch.setenv("PIPELINE_SECRET", "geheim4711")
    source = "gstreamer:nonsense location=rtsp://lab:${PIPELINE_SECRET}@x/"
    camera = make_camera(CameraSettings(source=source, width=64, height=48), SimulatorSettings())
    with pytest.raises(LeukoscopeError, match="nonsense") as refused:
        camera.open()
    camera.close()
    assert "geheim4711" not in str(refused.value)


@pytest.mark.parametrize("password", ["ge@he/im#1", "a b:c?d", "%41"])
def test_a_password_may_hold_any_character(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", password)
    source = "rtsp://lab:${CAMERA_PASSWORD}@127.0.0.1:1/cells?key=${CAMERA_PASSWORD}"
    assert address(source).count("@") == 1 + password.count("@")  # in the query it stands as it is
    camera = make_camera(CameraSettings(source=source), SimulatorSettings())
    with pytest.raises(LeukoscopeError, match=r"127\.0\.0\.1:1 cannot be reached") as refused:
        camera.open()
    camera.close()
    assert password not in str(refused.value)


class Slow:
    """Is made slowly; notes whether it is closed."""

    live, description = True, "slow"
    made: ClassVar["list[Slow]"] = []

    def __init__(self, wait: threading.Event):
        self.closed = threading.Event()
        self.opened = False
        Slow.made.append(self)
        wait.wait(10)

    def open(self) -> None:
        self.opened = True

    def read(self) -> Frame:
        time.sleep(0.01)
        pixels = np.random.default_rng().integers(50, 200, (8, 8, 3), np.uint8)
        return Frame(pixels, time.time_ns(), time.monotonic_ns(), "slow")

    def close(self) -> None:
        self.closed.set()


def test_a_camera_that_is_made_while_the_capture_closes_is_closed() -> None:
    Slow.made.clear()
    go_on = threading.Event()
    capture = Capture(lambda: Slow(go_on), 5.0)
    capture.start()
    eventually(lambda: bool(Slow.made))
    closer = threading.Thread(target=capture.close)
    closer.start()
    time.sleep(1.0)
    go_on.set()
    closer.join(10)
    assert Slow.made[0].closed.wait(5)
    assert not Slow.made[0].opened


def test_a_machine_without_threads_is_a_fault_that_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_module, "FIRST_RETRY_S", 0.05)
    done = threading.Event()
    done.set()
    start, left = threads.start, [3]

    def fails(name: str, work):  # type: ignore[no-untyped-def]
        if name.startswith("camera-") and name != "camera-supervisor" and left[0]:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        return start(name, work)

    monkeypatch.setattr(threads, "start", fails)
    capture = Capture(lambda: Slow(done), 5.0)
    capture.start()
    try:
        assert capture.take(10.0) is not None
        assert capture.counts.faults == 3 and capture.state == "ok"
    finally:
        capture.close()
    assert len([r for r in caplog.records if "cannot start another thread" in r.getMessage()]) == 1


def test_the_same_fault_with_another_number_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(capture_module, "FIRST_RETRY_S", 0.02)
    numbers = iter(range(1000))

    def make() -> Slow:
        raise LeukoscopeError(f"{next(numbers)} bytes without the end of a picture")

    with caplog.at_level(logging.ERROR):
        capture = Capture(make, 5.0)
        capture.start()
        eventually(lambda: capture.counts.faults >= 4)
        capture.close()
    assert len([r for r in caplog.records if "without the end" in r.getMessage()]) == 1


def specimen_of(settings: CameraSettings) -> str:
    camera = make_camera(settings, SimulatorSettings())
    camera.open()
    try:
        frame = camera.read()
    finally:
        camera.close()
    assert frame is not None
    return frame.specimen


def test_a_specimen_stays_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "slide 7", 1)
    monkeypatch.chdir(tmp_path / "slide 7")
    assert specimen_of(CameraSettings(source="files:.")) == "slide 7"
    for text in ("H24//0815/", ".", " a ", "C:\\u0000x"):
        assert specimen_of(CameraSettings(source="files:.", specimen=text)) == text
        assert specimen_of(CameraSettings(specimen=text)) == text
    assert specimen_of(CameraSettings()) == "simulated"


def test_a_calibration_in_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    field = [np.full((64, 64, 3), 180, np.uint8)]
    with pytest.raises(LeukoscopeError, match="cannot be written"):
        save(tmp_path / "file" / "calibration.npz", *measure_field(field, CameraSettings()))
