"""The daemon is built whole or not at all; a folder's images become one result each, over restarts."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from broker import eventually, free_port, make_record

from edge.bench.fields import drawn_field
from edge.daemon import daemon as daemon_module
from edge.daemon import parts as parts_module
from edge.daemon.daemon import Daemon, build
from edge.daemon.progress import MOST_STARTS, Progress, _Begun
from edge.errors import InputError, LeukoscopeError
from edge.health.runlog import RunLog
from edge.outbox.queue import Outbox
from edge.outbox.waiting import OutboxFullError
from edge.records import Record, decode_record
from edge.settings import CameraSettings, OutboxSettings, Settings

ROOT = Path(__file__).resolve().parents[3]


def folder_of_cells(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"cell {number}.png"), pixels)
    return folder


def settings_of(tmp_path: Path, **camera: object) -> Settings:
    return Settings(
        camera=CameraSettings(**camera),  # type: ignore[arg-type]
        outbox=OutboxSettings(file=str(tmp_path / "state" / "outbox.db")),
    )


@pytest.mark.parametrize("broken", ["RunLog", "Health", "Gate", "Publisher", "Reporter"])
def test_what_was_opened_is_closed_when_a_later_part_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    closed = []
    settings = settings_of(tmp_path, source=f"files:{folder_of_cells(tmp_path / 'cells')}")
    with monkeypatch.context() as patched:
        make_camera = parts_module.make_camera

        def watched(*arguments: object) -> object:
            camera = make_camera(*arguments)  # type: ignore[arg-type]
            camera.close = lambda: closed.append(camera)  # type: ignore[method-assign]
            return camera

        def fails(*_arguments: object, **_named: object) -> object:
            raise InputError("no such password file")

        patched.setattr(parts_module, "make_camera", watched)
        patched.setattr(parts_module if hasattr(parts_module, broken) else daemon_module, broken, fails)
        with pytest.raises(InputError):
            build(settings)
    assert len(closed) == 1
    Outbox(Path(settings.outbox.file)).close()  # nobody holds it
    assert RunLog(tmp_path / "state").begin().count == 0  # a start that fails is not a crash


def run(config: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "edge", "run", "--config", str(config), *options]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=(config.parent / "log").open("ab")
    )


def stored(folder: Path) -> list[Record]:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT payload FROM records ORDER BY sequence").fetchall()
    except sqlite3.OperationalError:
        return []
    return [decode_record(payload) for (payload,) in rows]


def test_a_folder_is_classified_once_however_often_the_daemon_starts(tmp_path: Path) -> None:
    cells = folder_of_cells(tmp_path / "C:\\u0000x")
    (cells / "broken.png").write_bytes(b"no picture")
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f"[camera]\nsource = 'files:{cells}'\n[mqtt]\nport = {free_port()}\n[outbox]\nfile = '{tmp_path}/outbox.db'\n"
    )

    def all_of(count: int, *options: str, end: int = signal.SIGTERM) -> list[Record]:
        daemon = run(config, *options)
        try:
            eventually(lambda: len(stored(tmp_path)) >= count, 60)
            time.sleep(1.0)
        finally:
            daemon.send_signal(end)
            daemon.wait(40)
        return stored(tmp_path)

    first = all_of(6, end=signal.SIGKILL)
    assert len({record.source for record in first}) == len(first) == 6
    assert {record.specimen for record in first} == {"C:\\u0000x"}
    assert all_of(6) == first
    cv2.imwrite(str(cells / "new.png"), np.zeros((64, 64, 3), np.uint8))
    assert [record.source for record in all_of(7)[6:]] == [str(cells / "new.png")]
    assert "were left out" in (tmp_path / "log").read_text()
    again = all_of(14, "--again")
    assert [record.sequence for record in again] == list(range(1, 15))


def test_an_image_that_ends_the_program_each_time_is_left_out(tmp_path: Path) -> None:
    cells = folder_of_cells(tmp_path / "cells", 2)
    poison, good = sorted(cells.iterdir())
    settings = settings_of(tmp_path, source=f"files:{cells}")
    with closing(Outbox(tmp_path / "o.db")) as outbox:
        for _ in range(MOST_STARTS):  # each ends while it works at the first
            assert Progress(outbox, settings, "m").wants(poison)
        last = Progress(outbox, settings, "m")
        assert not last.wants(poison) and last.wants(good) and last.refused == 1
        mark = last.classified()
        outbox.accept(make_record(), mark).result(5)
        last.close()
        after = Progress(outbox, settings, "m")
        assert not after.wants(poison) and not after.wants(good)
        assert after.skipped == 2 and after._before == _Begun()
        assert Progress(outbox, settings, "another model").wants(good)
        good.write_bytes(good.read_bytes() + b"\0")
        assert after.wants(good)


def test_a_capture_names_the_full_outbox_and_not_the_camera(tmp_path: Path) -> None:
    settings = Settings(outbox=OutboxSettings(file=str(tmp_path / "outbox.db"), max_mb=1))
    built = build(settings)
    capture = built._handlers()["capture"]

    class Asked:
        specimen = None

    try:
        with pytest.raises(LeukoscopeError):
            for _ in range(10_000):
                built._outbox.accept(make_record(source="x" * 3000))
        with pytest.raises(LeukoscopeError, match=r"no result: outbox: full: 1 MB .*max_mb"):
            capture(Asked())
        waiting = built.gate.request()
        built.gate.fail(built._why_no_result(), at_once=True)
        with pytest.raises(LeukoscopeError, match="outbox: full"):
            waiting.result(1)
    finally:
        built._outbox.close()


def test_a_field_whose_records_the_outbox_did_not_take_is_not_done(tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    cv2.imwrite(str(fields / "one.png"), drawn_field(640, 480, 6, 40.0, seed=3)[..., ::-1])
    settings = settings_of(tmp_path, source=f"files:{fields}", view="field")
    full = msgspec.structs.replace(settings, outbox=msgspec.structs.replace(settings.outbox, max_mb=1))
    with opened(full) as built:
        with pytest.raises(OutboxFullError):
            for _ in range(10_000):
                built._outbox.accept(make_record(source="x" * 3000))
        frame = built._camera.read()
        assert frame is not None
        built.stop()
        assert built._results.accept(built.gate.named(frame)) is None
    before = len(stored(tmp_path / "state"))
    with opened(settings) as built:
        frame = built._camera.read()
        assert frame is not None  # so the next start takes it again
        built.stop()  # and what there is room for is taken also then
        built._results.accept(built.gate.named(frame))
    assert len(stored(tmp_path / "state")) > before
    with opened(settings) as built:
        assert built._camera.read() is None  # now it is done


def test_a_field_whose_record_could_not_be_written_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = tmp_path / "fields"
    fields.mkdir()
    cv2.imwrite(str(fields / "one.png"), drawn_field(640, 480, 6, 40.0, seed=3)[..., ::-1])
    settings = settings_of(tmp_path, source=f"files:{fields}", view="field")
    for fault, done in ((OSError("disk full"), False), (None, True)):
        with opened(settings) as built:
            frame = built._camera.read()
            assert frame is not None
            written: Future[None] = Future()
            monkeypatch.setattr(built._stream.outbox, "accept", lambda *_, it=written: it)
            built._results.accept(built.gate.named(frame))
            if fault is None:
                written.set_result(None)
            else:
                written.set_exception(fault)
        with opened(settings) as built:
            assert (built._camera.read() is None) == done


@contextmanager
def opened(settings: Settings) -> Iterator[Daemon]:
    built = build(settings)
    try:
        yield built
    finally:
        built._stream.outbox.close()
        built._outbox.close()
