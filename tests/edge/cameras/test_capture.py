"""The supervisor of a live camera against real faults: blocked reads, frozen streams, killed servers."""

import logging
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from broker import eventually, free_port
from streams import MjpegServer, RtspServer, milliseconds, stamp_of

from edge.cameras import capture as capture_module
from edge.cameras.backends.simulator import SimulatorSettings
from edge.cameras.base import Camera
from edge.cameras.capture import Capture
from edge.cameras.settings import CameraSettings
from edge.cameras.sources import make_camera
from edge.cameras.vitals import identical, light
from edge.errors import InputError, LeukoscopeError
from edge.imaging.frame import Frame, Pixels
from edge.records import Record

STALL_S = 1.0
ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def capturing(make: Callable[[], Camera], stall_s: float = STALL_S) -> Iterator[Capture]:
    capture = Capture(make, stall_s)
    capture.start()
    try:
        yield capture
    finally:
        capture.close()


@contextmanager
def watching(source: str) -> Iterator[Capture]:
    settings = CameraSettings(source=source)
    with capturing(lambda: make_camera(settings, SimulatorSettings(), 480)) as capture:
        yield capture


def frame_within(capture: Capture, timeout_s: float = 15.0) -> Frame:
    frame = capture.take(timeout_s)
    assert frame is not None, capture.state
    return frame


def fault_within(capture: Capture, text: str, timeout_s: float = STALL_S + 2.0) -> None:
    """Go on asking for frames, as the daemon does, until the fault is seen."""
    deadline = time.monotonic() + timeout_s
    while text not in capture.state:
        assert time.monotonic() < deadline, capture.state
        capture.take(0.1)


def test_a_stream_that_falls_silent_is_noticed_and_taken_up_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with MjpegServer() as server, watching(server.address) as capture:
        frame_within(capture)
        assert capture.state == "ok"
        server.mode = "stalled"
        fault_within(capture, "gives no picture for 1 s")
        time.sleep(2.5)  # it is opened again, and is silent still
        server.mode = "live"
        frame_within(capture)
        assert capture.state == "ok"
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == len(set(errors)) <= 2  # each reason once
    assert sum("works again" in record.getMessage() for record in caplog.records) == 1


def test_a_stream_that_freezes_gives_no_frame_twice() -> None:
    with MjpegServer() as server, watching(server.address) as capture:
        frame_within(capture)
        server.mode = "frozen"
        stamps = []
        deadline = time.monotonic() + STALL_S + 1.0
        while "is frozen" not in capture.state:
            assert time.monotonic() < deadline, capture.state
            frame = capture.take(0.05)
            if frame is not None:
                stamps.append(stamp_of(frame.pixels))
        assert len(stamps) == len(set(stamps))
        server.mode = "live"
        assert stamp_of(frame_within(capture).pixels) not in stamps


class Made:
    """A camera without a device, a hundred frames a second."""

    live = True
    description = "made"

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def frame(self, pixels: Pixels) -> Frame:
        time.sleep(0.01)
        return Frame(pixels, time.time_ns(), time.monotonic_ns(), "made")


class Frozen(Made):
    """Shows one picture, however often it is opened."""

    def __init__(self, pixels: Pixels):
        self._pixels = pixels

    def read(self) -> Frame:
        return self.frame(self._pixels.copy())


def test_a_camera_that_is_frozen_still_when_opened_again_gives_no_second_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capture_module, "FIRST_RETRY_S", 0.05)
    pixels = np.random.default_rng(1).integers(50, 200, (64, 64, 3), np.uint8)
    with capturing(lambda: Frozen(pixels), 0.3) as capture:
        frame_within(capture)
        while capture.counts.faults < 4:
            assert capture.take(0.05) is None
        assert "is frozen" in capture.state
        pixels[0, 0] += 1  # it moves
        frame_within(capture)
        assert capture.state == "ok"


@pytest.mark.parametrize("mode", ["black", "white"])
def test_a_lamp_that_is_out_or_glares_is_noticed(mode: str) -> None:
    with MjpegServer() as server, watching(server.address) as capture:
        frame_within(capture)
        server.mode = mode
        began = milliseconds()
        fault_within(capture, "only black" if mode == "black" else "only saturated")
        server.mode = "live"
        assert stamp_of(frame_within(capture).pixels) > began
        assert capture.state == "ok"


def test_a_server_that_is_killed_and_comes_back() -> None:
    server = MjpegServer()
    with watching(server.address) as capture:
        frame_within(capture)
        server.close()
        fault_within(capture, "no more pictures", 3.0)
        eventually(lambda: "cannot be reached" in capture.state)
        with MjpegServer(port=server.port):
            frame_within(capture)
            assert capture.state == "ok"


def test_an_rtsp_camera_that_hangs_and_goes_on() -> None:
    with RtspServer() as server, watching(server.address) as capture:
        frame_within(capture)
        server.signal(signal.SIGSTOP)
        fault_within(capture, "gives no picture")
        server.signal(signal.SIGCONT)
        frame_within(capture, 30)
        assert capture.state == "ok"


def test_a_process_that_blocks_within_its_driver_is_replaced_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capture_module, "LONGEST_RETRY_S", 0.5)
    made: list[Camera] = []

    with MjpegServer(width=320, height=240) as server:

        def make() -> Camera:
            made[:] = [make_camera(CameraSettings(source=server.address), SimulatorSettings(), 0)]
            return made[0]

        with capturing(make) as capture:
            for cycle in range(4):
                frame_within(capture)
                if cycle == 0:
                    descriptors, threads = (
                        len(list(Path("/proc/self/fd").iterdir())),
                        threading.active_count(),
                    )
                worker = made[0]._process.pid  # type: ignore[attr-defined]
                os.kill(worker, signal.SIGSTOP)  # as a driver that never returns: only a kill ends it
                fault_within(capture, "gives no picture")
                eventually(lambda gone=Path(f"/proc/{worker}"): not gone.exists())
            frame_within(capture)
            assert capture.counts.faults == 4
            assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1
            assert threading.active_count() <= threads + 1


class Blocked(Made):
    """Its reads never return, not even when it is closed."""

    def __init__(self, good_frames: int):
        self._good_frames = good_frames
        self.late = threading.Event()

    def read(self) -> Frame:
        if self._good_frames == 0:
            self.late.wait()
        self._good_frames -= 1
        return self.frame(np.random.default_rng().integers(50, 200, (64, 64, 3), np.uint8))


def test_a_thread_that_blocks_for_ever_is_dropped_and_its_late_frame_thrown_away() -> None:
    first, second = Blocked(3), Blocked(-1)
    cameras = iter([first, second])
    with capturing(lambda: next(cameras), 0.5) as capture:
        frame_within(capture)
        fault_within(capture, "gives no picture")
        frame_within(capture)
        second._good_frames = 0  # so that nothing but the late frame could come
        while capture.take(0.05) is not None:
            pass
        first._good_frames = 1
        first.late.set()
        assert capture.take(0.3) is None
        assert capture.counts.faults == 1


def test_where_only_a_new_process_can_help_the_daemon_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "FIRST_RETRY_S", 0.05)
    with capturing(lambda: Blocked(1), 0.5) as capture, pytest.raises(LeukoscopeError, match="new process"):
        for _ in range(100):
            capture.take(0.1)


def test_settings_that_cannot_work_are_not_tried_for_ever() -> None:
    settings = CameraSettings(source="gstreamer:videotestsrc")  # no width
    with (
        capturing(lambda: make_camera(settings, SimulatorSettings())) as capture,
        pytest.raises(InputError, match=r"camera\.width"),
    ):
        capture.take(10.0)


def test_a_frame_that_nobody_took_in_time_is_not_given() -> None:
    camera = Blocked(5)
    with capturing(lambda: camera, 30.0) as capture:
        eventually(lambda: capture.counts.read == 5)
        time.sleep(capture_module.FRESH_S + 0.1)
        assert capture.take(0.1) is None


def test_while_nobody_asks_a_camera_is_read_seldom() -> None:
    with MjpegServer(fps=30) as server, watching(server.address) as capture:
        frame_within(capture)
        time.sleep(1.5)
        read = capture.counts.read
        time.sleep(2.0)
        assert 1 <= capture.counts.read - read <= 20
        asked_ns = time.monotonic_ns()
        frame = capture.take(2.0, after_ns=asked_ns)
        assert frame is not None and frame.monotonic_ns >= asked_ns


def run_daemon(folder: Path, source: str) -> "subprocess.Popen[str]":
    config = folder / "leukoscope.toml"
    config.write_text(
        f'[camera]\nsource = "{source}"\nstall_s = 1.0\n[mqtt]\nport = {free_port()}\n'
        f'[outbox]\nfile = "{folder / "outbox.db"}"\n'
    )
    command = [sys.executable, "-m", "edge", "run", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def stored(folder: Path) -> list[Record]:
    try:
        with sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT payload FROM records ORDER BY sequence").fetchall()
    except sqlite3.OperationalError:  # the daemon has not made it yet
        return []
    return [msgspec.json.decode(payload, type=Record) for (payload,) in rows]


def memory_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_the_daemon_lives_through_all_of_it_with_no_wrong_or_doubled_record(tmp_path: Path) -> None:
    server = MjpegServer()
    port = server.port
    daemon = run_daemon(tmp_path, server.address)
    silent: list[tuple[int, int]] = []

    def more(lasting_s: float) -> None:
        have = len(stored(tmp_path))
        eventually(lambda: len(stored(tmp_path)) > have, 30)
        time.sleep(lasting_s)

    try:
        more(0.5)
        before_mb = memory_mb(daemon.pid)
        for mode in ("stalled", "frozen", "black", "killed"):
            if mode == "killed":
                server.close()
            else:
                server.mode = mode
            # What was on its way still comes, late on a busy machine.
            began_ns = time.monotonic_ns() + 800_000_000
            time.sleep(1.8)
            silent.append((began_ns, time.monotonic_ns()))
            if mode == "killed":
                server = MjpegServer(port=port)
            server.mode = "live"
            more(2.5)
        after_mb = memory_mb(daemon.pid)
    finally:
        daemon.send_signal(signal.SIGTERM)
        _, log = daemon.communicate(timeout=20)
        server.close()
    assert daemon.returncode == 0, log
    assert "Traceback" not in log
    records = stored(tmp_path)
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    moments = [record.monotonic_ns for record in records]
    assert moments == sorted(set(moments))
    assert not [ns for ns in moments for began_ns, ended_ns in silent if began_ns < ns < ended_ns]
    assert after_mb < before_mb + 15


def test_frames_are_compared_and_judged_by_their_light() -> None:
    rng = np.random.default_rng(0)
    field = rng.integers(100, 200, (480, 640, 3), np.uint8)
    other = field.copy()
    assert identical(field, other)
    other[479, 639, 2] ^= 1
    assert not identical(field, other)
    assert light(field) == ""
    assert light(rng.integers(0, 12, (480, 640, 3), np.uint8)) == "black"
    assert light(rng.integers(252, 256, (480, 640, 3), np.uint8)) == "saturated"
    cell_on_black = np.zeros((1080, 1920, 3), np.uint8)
    cell_on_black[465:615, 885:1035] = (70, 30, 80)
    assert light(cell_on_black) == ""
    empty_glare = np.full((480, 640, 3), 255, np.uint8)
    empty_glare[200:280, 280:360] = (140, 60, 150)
    assert light(empty_glare) == ""


def test_frames_of_one_middle_row_are_compared_as_a_whole() -> None:
    field = np.full((480, 640, 3), 130, np.uint8)
    for row in (0, 239, 240, 479):
        other = field.copy()
        other[row, 3, 1] += 1
        assert not identical(field, other), row
    assert identical(field, field.copy())


def test_a_dark_or_bright_middle_row_is_no_fault_of_the_light() -> None:
    field = np.full((480, 640, 3), 130, np.uint8)
    for level in (0, 255):
        field[200:280] = level
        assert light(field) == ""
