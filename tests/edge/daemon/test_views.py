"""Pictures for people who watch: small, seldom, and only while somebody asks."""

import base64
import json
import threading
import time

import cv2
import numpy as np
import pytest
from broker import make_record

from edge.daemon.views import LARGEST_BYTES, LONGEST_SIDE_PX, Views, small_jpeg
from edge.imaging.frame import Frame
from edge.mqtt.commands.requests import ViewRequest


def frame(width: int = 450, height: int = 450) -> Frame:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Frame(
        pixels=pixels, captured_at_ns=time.time_ns(), monotonic_ns=time.monotonic_ns(), source="test"
    )


def test_a_picture_is_small_however_large_the_frame_is() -> None:
    jpeg = small_jpeg(frame(4000, 3000).pixels)
    assert len(jpeg) <= LARGEST_BYTES
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert max(shown.shape[:2]) == LONGEST_SIDE_PX
    assert shown.shape[1] / shown.shape[0] == pytest.approx(4 / 3, abs=0.01)


@pytest.fixture
def watched():
    sent: list[dict] = []
    views = Views(frame, lambda payload: sent.append(json.loads(payload)), crop_px=320)
    stopping = threading.Event()
    views.start(stopping)
    yield views, sent
    stopping.set()


def test_nothing_is_made_while_nobody_asks(watched) -> None:
    views, sent = watched
    views.judged(frame(), make_record())
    time.sleep(0.8)
    assert sent == []


def test_it_ends_by_itself_and_keeps_to_its_rate(watched) -> None:
    views, sent = watched
    views.request(ViewRequest(seconds=1.0, per_second=4))
    shown = frame()
    views.judged(shown, make_record(verdict="ALL"))
    time.sleep(2.0)
    count = len(sent)
    assert 2 <= count <= 6
    time.sleep(0.7)
    assert len(sent) == count
    assert sent[0]["size"] == [450, 450]
    assert base64.b64decode(sent[0]["jpeg"])[:2] == b"\xff\xd8"
    drawn = [cell for view in sent for cell in view["cells"]]
    assert drawn[0]["verdict"] == "ALL"
    assert drawn[0]["box"] == [65, 65, 320, 320]


def test_verdicts_of_old_frames_are_not_drawn(watched) -> None:
    views, sent = watched
    views.request(ViewRequest(seconds=4.0, per_second=5))
    views.judged(frame(), make_record())
    time.sleep(2.5)
    assert any(view["cells"] for view in sent)
    assert sent[-1]["cells"] == []
