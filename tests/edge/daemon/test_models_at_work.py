"""The daemon takes another model between two frames, without a lost record, and goes back if it does not work."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from broker import Mosquitto, eventually
from command import clean, leukoscope
from model_server import gives, server
from requester import Requester

from edge.daemon.daemon import build
from edge.daemon.models import PROVEN_RESULTS
from edge.errors import InputError, LeukoscopeError
from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Frame
from edge.model.classifier import Classifier
from edge.model.file import read_model, write_model
from edge.model.installation import install as installation
from edge.model.installation.signature import make_key, sign
from edge.model.installed import default_model
from edge.model.settings import ModelSettings
from edge.mqtt.commands.requests import ModelInstallRequest
from edge.records import Record, decode_record
from edge.settings import ArchiveSettings, CameraSettings, OutboxSettings, Settings

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = read_model(default_model())


def variant(file: Path, refer_below: float) -> str:
    manifest = msgspec.structs.replace(SHIPPED.manifest, refer_below=refer_below)
    return write_model(file, SHIPPED.flatbuffer, manifest, SHIPPED.card).sha256


def kept(folder: Path) -> list[Record]:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT payload FROM records ORDER BY sequence").fetchall()
    except sqlite3.OperationalError:  # not made yet
        return []
    return [decode_record(payload) for (payload,) in rows]


@pytest.fixture
def box(tmp_path: Path):
    """A daemon on the samples, over and over, with its folder and whoever commands it."""
    with Mosquitto(tmp_path) as broker:
        broker.start()
        config = tmp_path / "leukoscope.toml"
        config.write_text(
            f"[device]\nid = 'box'\n[camera]\nsource = 'files:{ROOT}/samples/cells'\nloop = true\n"
            f"trigger = 'interval'\ninterval_s = 0.05\n[mqtt]\nport = {broker.port}\n"
            f"[model]\ndirectory = '{tmp_path}/models'\n[outbox]\nfile = '{tmp_path}/outbox.db'\nresend_s = 600\n"
            f"[archive]\ndirectory = '{tmp_path}/archive'\nkeep = 'all'\n"
        )
        log = (tmp_path / "log").open("ab")
        daemon = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", config],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=log,
        )
        requester = Requester(broker.port)
        try:
            eventually(lambda: len(kept(tmp_path)) > 5, 60)
            yield tmp_path, config, requester
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(40) == 0, (tmp_path / "log").read_text()
        finally:
            daemon.kill()
            daemon.wait()
            requester.close()
            log.close()


def health(requester: Requester) -> dict:
    return requester.ask("health", b"")[1]["result"]


def test_installed_taken_and_given_back_while_it_works(box) -> None:
    folder, config, requester = box
    first = variant(folder / "first.tflite", 0.9)
    done = leukoscope("model", "install", "first.tflite", "--config", config, cwd=folder)
    assert "verdicts that change" in clean(done, 0)
    assert "the daemon works with it" in done.stdout
    told = health(requester)["model"]
    assert told["sha256"] == first and told["on_trial"] is False and told["checked_here"] is False
    # the same over MQTT, by a path and a hash
    second = variant(folder / "second.tflite", 0.95)
    wrong = b'{"file": "%s", "sha256": "%s"}' % (os.fsencode(folder / "second.tflite"), b"0" * 64)
    answer = requester.ask("model_install", wrong)[1]
    assert not answer["ok"] and "copy it again" in answer["error"]
    right = b'{"file": "%s", "sha256": "%s"}' % (os.fsencode(folder / "second.tflite"), second.encode())
    answer = requester.ask("model_install", right)[1]
    assert answer["ok"] and answer["result"]["trial"]["pictures"] > 0
    eventually(lambda: kept(folder)[-1].model.sha256 == second)
    eventually(lambda: health(requester)["model"]["on_trial"] is False)
    assert requester.ask("model_back", b"{}")[1]["result"]["sha256"] == first
    eventually(lambda: kept(folder)[-1].model.sha256 == first)
    clean(leukoscope("model", "back", "--config", config, cwd=folder), 0)
    eventually(lambda: kept(folder)[-1].model.sha256 == SHIPPED.sha256)
    records = kept(folder)
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    order = [record.model.sha256 for record in records]
    changes = [sha256 for number, sha256 in enumerate(order) if number == 0 or order[number - 1] != sha256]
    assert changes == [SHIPPED.sha256, first, second, first, SHIPPED.sha256]
    assert requester.ask("model_back", b"{}")[1]["ok"] is False


def over_samples(folder: Path) -> Settings:
    """Of a daemon that takes the sample cells again and again, with all its files in a folder."""
    return Settings(
        camera=CameraSettings(source=f"files:{ROOT}/samples/cells", loop=True),
        outbox=OutboxSettings(file=str(folder / "outbox.db")),
        archive=ArchiveSettings(directory=str(folder / "archive")),
        model=msgspec.structs.replace(Settings().model, directory=str(folder / "models")),
    )


def test_a_model_that_fails_in_the_daemon_is_given_back_and_the_frame_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = over_samples(tmp_path)
    daemon = build(settings)
    bad = variant(tmp_path / "bad.tflite", 0.9)
    classify = Classifier.classify

    def fails(classifier: Classifier, pixels):  # such as an operator that this processor lacks
        if classifier._refer_below == 0.9:
            raise RuntimeError("illegal instruction")
        return classify(classifier, pixels)

    monkeypatch.setattr(Classifier, "classify", fails)
    try:
        picture = read_image(find_images([ROOT / "samples/cells"])[0])
        frame = Frame(picture, 0, 0, "test", "")
        installation.install(tmp_path / "bad.tflite", settings.model, tmp_path / "archive")
        daemon._models._look_at_s = 0.0
        daemon._models.look()
        assert daemon._models.report()["model"]["on_trial"] is True
        stored = daemon._results.accept(frame)
        assert stored is not None and stored.result(10).model.sha256 == SHIPPED.sha256
        told = daemon._models.report()["model"]
        assert (
            told["on_trial"] is False and bad[:12] in told["fault"] and "illegal instruction" in told["fault"]
        )
        assert installation.of_settings(settings.model).sha256 == SHIPPED.sha256
    finally:
        daemon._outbox.close()


def test_a_fault_of_a_proven_model_is_no_reason_to_go_back(tmp_path: Path) -> None:
    settings = Settings(
        camera=CameraSettings(source=f"files:{ROOT}/samples/cells", loop=True),
        outbox=OutboxSettings(file=str(tmp_path / "outbox.db")),
        model=msgspec.structs.replace(Settings().model, directory=str(tmp_path / "models")),
    )
    daemon = build(settings)
    try:

        def fails() -> None:
            raise InputError("the calibration is for frames of another size")

        with pytest.raises(InputError):
            daemon._models.trying(fails)
    finally:
        daemon._outbox.close()


def test_a_model_from_an_address_is_fetched_beside_the_loop_and_taken(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    make_key(tmp_path / "key", "Lab")
    for name, below in (("base", 0.6), ("new", 0.9)):
        variant(tmp_path / f"{name}.tflite", below)
        sign(tmp_path / f"{name}.tflite", tmp_path / "key")
    new = read_model(tmp_path / "new.tflite")
    model = ModelSettings(
        file=str(tmp_path / "base.tflite"),
        directory=str(tmp_path / "models"),
        trusted_keys=str(tmp_path / "key.pub"),
        fetch=True,
    )
    settings = Settings(
        camera=CameraSettings(source=f"files:{ROOT}/samples/cells", loop=True),
        outbox=OutboxSettings(file=str(tmp_path / "outbox.db")),
        archive=ArchiveSettings(directory=str(tmp_path / "archive")),
        model=model,
    )
    daemon = build(settings)
    try:
        models = daemon._models
        with pytest.raises(InputError, match="either a file on this box or an address"):
            models.install(ModelInstallRequest(sha256=new.sha256))
        asked = threading.Event()

        def waits(connection: socket.socket) -> None:
            asked.wait(60)
            gives(new.path.read_bytes())(connection)

        with server(waits) as address:
            request = ModelInstallRequest(address=address, sha256=new.sha256)
            answer = models.install(request)
            assert isinstance(answer, Future) and not answer.done()
            eventually(models._fetching.locked)
            with pytest.raises(LeukoscopeError, match="another model is being fetched"):
                models.install(request)
            asked.set()
            assert answer.result(60)["sha256"] == new.sha256
            wrong = models.install(ModelInstallRequest(address=address, sha256="0" * 64))
            assert isinstance(wrong, Future) and "removed without being read" in str(wrong.exception(60))
        models._look_at_s = 0.0
        models.look()
        assert models._model.sha256 == new.sha256
    finally:
        daemon._outbox.close()


def test_a_box_fetches_nothing_unless_its_settings_allow_it(box) -> None:
    _, _, requester = box
    asked = b'{"address": "http://127.0.0.1:1/m.tflite?token=geheim12", "sha256": "%s"}' % (b"0" * 64)
    answer = requester.ask("model_install", asked)[1]
    assert not answer["ok"] and "fetches no models" in answer["error"] and "geheim12" not in answer["error"]


def test_a_record_names_the_model_that_judged_it_even_if_that_one_is_given_up_right_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = over_samples(tmp_path)
    daemon = build(settings)
    slow = variant(tmp_path / "slow.tflite", 0.9)
    classify = Classifier.classify

    def takes_long(classifier: Classifier, pixels):
        prediction = classify(classifier, pixels)
        return replace(
            prediction, timings_ms={"preprocess": 1.0, "invoke": 900.0 if is_slow(classifier) else 1.0}
        )

    def is_slow(classifier: Classifier) -> bool:
        return classifier._refer_below == 0.9

    monkeypatch.setattr(Classifier, "classify", takes_long)
    frame = Frame(read_image(find_images([ROOT / "samples/cells"])[0]), 0, 0, "test", "")
    try:
        accept = lambda: daemon._results.accept(frame).result(10)  # noqa: E731
        assert {accept().model.sha256 for _ in range(PROVEN_RESULTS)} == {SHIPPED.sha256}
        installation.install(tmp_path / "slow.tflite", settings.model, tmp_path / "empty")
        daemon._models._look_at_s = 0.0
        daemon._models.look()
        judged = [accept().model.sha256 for _ in range(PROVEN_RESULTS)]
        assert "900 ms a cell" in daemon._models.report()["model"]["fault"]  # given up at the last of them
        assert set(judged) == {slow}
        assert accept().model.sha256 == SHIPPED.sha256
    finally:
        daemon._outbox.close()
