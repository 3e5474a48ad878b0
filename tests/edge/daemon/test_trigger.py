"""Which frames become results: by trigger and on request."""

import time
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import pytest
from broker import make_record

from edge.cameras.settings import CameraSettings
from edge.daemon import trigger as trigger_module
from edge.daemon.trigger import Gate, coarse_plane, difference_levels
from edge.errors import LeukoscopeError
from edge.imaging.files import read_image
from edge.imaging.frame import Frame, Pixels
from edge.records import Record

RNG = np.random.default_rng(0)


def frame(pixels: Pixels, at_s: float) -> Frame:
    return Frame(pixels, 0, round(at_s * 1e9), "test", "slide 1")


def field(shift_px: int, noise_sigma: float = 3.0) -> Pixels:
    """A stained cell in a field, moved, with the sensor's own noise."""
    picture = np.full((480, 640, 3), 190, np.uint8)
    cv2.circle(picture, (320 + shift_px, 240), 80, (130, 60, 180), -1)
    noisy = picture + RNG.normal(0, noise_sigma, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def admitted(gate: Gate, frames: list[tuple[float, int]]) -> list[float]:
    """When frames of a field are admitted; each is given as its time in seconds and the stage's way in px."""
    return [at_s for at_s, shift_px in frames if gate.admit(frame(field(shift_px), at_s))]


def test_a_stage_that_moves_and_stops_gives_one_result_for_each_rest() -> None:
    gate = Gate(CameraSettings(trigger="settled"), 400)
    rest = [(i / 10, 0) for i in range(20)]
    move = [(2 + i / 10, i * 15) for i in range(10)]
    second_rest = [(3 + i / 10, 150) for i in range(20)]
    times = admitted(gate, rest + move + second_rest)
    assert len(times) == 2
    assert times[0] == pytest.approx(trigger_module.SETTLE_S, abs=0.11)
    assert times[1] == pytest.approx(3.0 + trigger_module.SETTLE_S, abs=0.21)


def test_noise_flicker_and_a_trembling_bench_are_no_movement() -> None:
    gate = Gate(CameraSettings(trigger="settled"), 400)
    given = 0
    for i in range(100):
        pixels = field(int(RNG.integers(-1, 2)), noise_sigma=10)
        flickering = np.clip(pixels * RNG.uniform(0.97, 1.03), 0, 255).astype(np.uint8)
        given += gate.admit(frame(flickering, i / 10)) is not None
    assert given == 1


def test_a_slow_drift_is_movement() -> None:
    gate = Gate(CameraSettings(trigger="settled"), 400)
    assert len(admitted(gate, [(i / 10, i // 4) for i in range(200)])) >= 3


def test_the_threshold_lies_between_a_trembling_and_a_moved_field_of_real_cells(cnmc: Path) -> None:
    for path in sorted((cnmc / "training_data" / "fold_2").rglob("*.png"))[:20]:
        cell = read_image(path)
        still = coarse_plane(cell[20:420, 20:420], 0)
        noisy = np.clip(cell + RNG.normal(0, 10, cell.shape), 0, 255).astype(np.uint8)
        assert difference_levels(still, coarse_plane(noisy[21:421, 20:420], 0)) < trigger_module.MOTION_LEVELS
        assert difference_levels(still, coarse_plane(cell[0:400, 20:420], 0)) > trigger_module.MOTION_LEVELS


def test_continuous_takes_every_frame_and_interval_one_in_a_while() -> None:
    continuous = Gate(CameraSettings(trigger="continuous"))
    assert len(admitted(continuous, [(i / 10, 0) for i in range(5)])) == 5
    interval = Gate(CameraSettings(trigger="interval", interval_s=0.4))
    began, times = time.monotonic(), []
    while time.monotonic() < began + 1.5:
        if interval.wait(0.05) and interval.admit(frame(field(0), time.monotonic())):
            times.append(time.monotonic() - began)
    assert 3 <= len(times) <= 5


def test_nothing_happens_without_a_request_and_one_result_with_it() -> None:
    gate = Gate(CameraSettings(trigger="request"))
    assert gate.idle
    assert not gate.wait(0.01)
    now_s = time.monotonic()
    assert gate.admit(frame(field(0), now_s)) is None
    answer = gate.request(specimen="slide 2")
    assert gate.wait(0.01)
    assert gate.admit(frame(field(0), now_s)) is None  # captured before it was asked for
    taken = gate.admit(frame(field(0), time.monotonic()))
    assert taken is not None and taken.specimen == "slide 2"
    stored: Future[Record] = Future()
    gate.answer(stored)
    assert not answer.done()  # only what is stored is an answer
    record = make_record(sequence=7)
    stored.set_result(record)
    assert answer.result(0) is record
    assert gate.idle


def test_a_request_is_answered_whatever_the_trigger() -> None:
    gate = Gate(CameraSettings(trigger="interval", interval_s=1000.0))
    gate.admit(frame(field(0), time.monotonic()))
    assert not gate.wait(0.01)
    gate.request()
    assert gate.wait(0.01)
    taken = gate.admit(frame(field(0), time.monotonic()))
    assert taken is not None and taken.specimen == "slide 1"


def test_a_request_that_no_frame_answers_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger_module, "REQUEST_TIMEOUT_S", 0.1)
    gate = Gate(CameraSettings(trigger="request"))
    answer = gate.request()
    time.sleep(0.15)
    gate.fail("camera: gives no picture for 5 s")
    with pytest.raises(LeukoscopeError, match="gives no picture"):
        answer.result(0)


def test_requests_without_end_are_refused() -> None:
    gate = Gate(CameraSettings(trigger="request"))
    with pytest.raises(LeukoscopeError, match="requests wait already"):
        for _ in range(1000):
            gate.request()


def test_a_specimen_that_is_set_holds_for_all_that_follow() -> None:
    gate = Gate(CameraSettings())
    gate.set_specimen("slide 9")
    for _ in range(2):
        taken = gate.admit(frame(field(0), 1.0))
        assert taken is not None and taken.specimen == "slide 9"
