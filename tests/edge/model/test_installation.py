"""A box's own models: installed, refused, given back; and a power cut at every step leaves one whole model."""

import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import pytest
from command import SAMPLES, clean, leukoscope

from edge.errors import LeukoscopeError
from edge.imaging.files import read_image
from edge.model.file import ModelFile, read_model, write_model
from edge.model.installation import install as installation
from edge.model.installation.signature import make_key, sign
from edge.model.installation.store import Store
from edge.model.installed import default_model
from edge.model.settings import ModelSettings

SHIPPED = read_model(default_model())


def variant(file: Path, **changes: object) -> ModelFile:
    """The model that ships with some of its manifest changed."""
    return write_model(
        file, SHIPPED.flatbuffer, msgspec.structs.replace(SHIPPED.manifest, **changes), SHIPPED.card
    )


def settings_of(folder: Path, **changes: object) -> ModelSettings:
    return ModelSettings(directory=str(folder / "models"), **changes)  # type: ignore[arg-type]


def install(file: Path, settings: ModelSettings, archive: Path) -> installation.Installed:
    return installation.install(file, settings, archive)


def archive_of(folder: Path) -> Path:
    """Some pictures as a box keeps them."""
    for number, cell in enumerate(sorted(SAMPLES.rglob("*.png"))[::4]):
        picture = folder / "archive" / "2026-11-28" / f"{number:04d}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        pixels = read_image(cell)
        top = (pixels.shape[0] - 256) // 2
        cv2.imwrite(str(picture), pixels[top : top + 256, top : top + 256, ::-1])
    return folder / "archive"


def test_install_and_back_by_the_command_line(tmp_path: Path) -> None:
    archive_of(tmp_path)
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f"[model]\ndirectory = '{tmp_path}/models'\n[archive]\ndirectory = '{tmp_path}/archive'\n"
        f"[outbox]\nfile = '{tmp_path}/outbox.db'\n"
    )
    new = variant(tmp_path / "new.tflite", refer_below=0.999)  # more than int8 can say: all are referred
    done = leukoscope("model", "install", "new.tflite", "--config", config, "--json", cwd=tmp_path)
    clean(done, 0)
    told = json.loads(done.stdout)
    assert told["sha256"] == new.sha256 and told["before"] == SHIPPED.sha256
    assert told["trial"]["pictures"] == 10
    changes = told["trial"]["verdicts_that_change"]
    assert changes and all(way.endswith("refer") for way in changes)

    def used() -> str:
        line = leukoscope("classify", SAMPLES, "--limit", 1, "--config", config, "--json", cwd=tmp_path)
        return str(json.loads(line.stdout)["model"]["sha256"])

    assert used() == new.sha256
    again = leukoscope("model", "install", "new.tflite", "--config", config, cwd=tmp_path)
    assert "runs already" in clean(again, 2)
    clean(leukoscope("model", "back", "--config", config, cwd=tmp_path), 0)
    assert used() == SHIPPED.sha256
    assert "nothing to go back to" in clean(leukoscope("model", "back", "--config", config, cwd=tmp_path), 1)


def test_several_models_and_the_way_back_through_them(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    models = [variant(tmp_path / f"{i}.tflite", refer_below=0.8 + i / 100) for i in range(6)]
    for i in range(6):
        install(tmp_path / f"{i}.tflite", settings, tmp_path / "none")
        assert installation.of_settings(settings).sha256 == models[i].sha256
    kept = sorted(file.stem for file in (tmp_path / "models").glob("*.tflite"))
    assert kept == sorted(model.sha256 for model in models[2:])
    for i in (4, 3):
        assert installation.back(settings).sha256 == models[i].sha256


def test_what_does_not_fit_is_refused_and_the_model_before_runs_on(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    good = variant(tmp_path / "good.tflite", refer_below=0.8)
    install(tmp_path / "good.tflite", settings, tmp_path / "none")
    variant(tmp_path / "labels.tflite", labels=["BLAST", "NORMAL"], positive="BLAST")
    geometry = msgspec.structs.replace(SHIPPED.manifest.geometry, crop=300)
    variant(tmp_path / "crop.tflite", geometry=geometry)
    data = (tmp_path / "good.tflite").read_bytes()
    (tmp_path / "short.tflite").write_bytes(data[:-100])
    (tmp_path / "text.tflite").write_text("a model")
    for name, words in (
        ("labels", "its classes are BLAST, NORMAL, this box counts ALL, HEM"),
        ("crop", "it looks at 300 pixels"),
        ("short", "copy it again"),
        ("text", "not a TFLite model"),
        ("absent", "no such model file"),
    ):
        with pytest.raises(LeukoscopeError, match=words):
            install(tmp_path / f"{name}.tflite", settings, tmp_path / "none")
        assert installation.of_settings(settings).sha256 == good.sha256


def test_with_trusted_keys_unsigned_and_older_files_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    make_key(tmp_path / "key", "Lab")
    for name, counter, below in (("base", 5, 0.7), ("old", 6, 0.8), ("new", 9, 0.9)):
        variant(tmp_path / f"{name}.tflite", refer_below=below)
        sign(tmp_path / f"{name}.tflite", tmp_path / "key", counter)
    settings = settings_of(
        tmp_path, file=str(tmp_path / "base.tflite"), trusted_keys=str(tmp_path / "key.pub")
    )
    with pytest.raises(LeukoscopeError, match="is not signed"):
        install(default_model(), settings, tmp_path / "none")
    install(tmp_path / "new.tflite", settings, tmp_path / "none")
    with pytest.raises(LeukoscopeError, match="older than what was installed"):
        install(tmp_path / "old.tflite", settings, tmp_path / "none")
    installation.back(settings)
    with pytest.raises(LeukoscopeError, match="older than what was installed"):  # nor after going back
        install(tmp_path / "old.tflite", settings, tmp_path / "none")
    assert installation.of_settings(settings).path.name == "base.tflite"


def test_a_damaged_installed_file_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_of(tmp_path)
    first, second = (variant(tmp_path / f"{n}.tflite", refer_below=n / 10) for n in (7, 8))
    for n in (7, 8):
        install(tmp_path / f"{n}.tflite", settings, tmp_path / "none")
    file = tmp_path / "models" / f"{second.sha256}.tflite"
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    assert installation.of_settings(settings).sha256 == first.sha256
    assert "altered" in caplog.text or "damaged" in caplog.text
    file.unlink()
    (tmp_path / "models" / f"{first.sha256}.tflite").unlink()
    assert installation.of_settings(settings).sha256 == SHIPPED.sha256
    (tmp_path / "models" / "state.json").write_text("{")
    assert installation.of_settings(settings).sha256 == SHIPPED.sha256


def killed_at(step: int, work: Callable[[], object]) -> int | None:
    """Do the work in a child that kills itself with -9 before its Nth call that changes the disk; its exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = itertools.count(1)

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            if next(calls) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **more)

        return call

    names = ("fsync", "fchmod", "chown", "unlink", "replace", "rename")
    for owner, name in (
        *((os, name) for name in names),
        (Path, "replace"),
        (Path, "unlink"),
        (Path, "mkdir"),
    ):
        setattr(owner, name, counted(getattr(owner, name)))
    status = 1
    with contextlib.suppress(BaseException):
        work()
        status = 0
    os._exit(status)


@pytest.mark.parametrize("step", ["first", "second", "back"])
def test_killed_at_every_step_one_whole_model_is_left(tmp_path: Path, step: str) -> None:
    """kill -9 before each call that changes the disk; then the box has the old or the new model, and can go on."""
    old = variant(tmp_path / "old.tflite", refer_below=0.8)
    new = variant(tmp_path / "new.tflite", refer_below=0.9)
    before = SHIPPED.sha256 if step == "first" else old.sha256
    start = tmp_path / "start"
    if step != "first":
        install(tmp_path / "old.tflite", settings_of(start), tmp_path / "none")
    if step == "back":
        install(tmp_path / "new.tflite", settings_of(start), tmp_path / "none")
    allowed = {before, new.sha256}
    killed, seen = 0, set()
    for at in range(1, 100):
        box = tmp_path / f"box-{at}"
        if start.exists():
            shutil.copytree(start, box)
        settings = settings_of(box)

        def work(settings: ModelSettings = settings) -> object:
            if step == "back":
                return installation.back(settings)
            return install(tmp_path / "new.tflite", settings, tmp_path / "none")

        status = killed_at(at, work)
        runs = installation.of_settings(settings).sha256
        assert runs in allowed
        seen.add(runs)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        if step == "back":
            if runs == new.sha256:
                assert installation.back(settings).sha256 == old.sha256
        elif runs == before:
            install(tmp_path / "new.tflite", settings, tmp_path / "none")
        else:
            assert installation.back(settings).sha256 == before
        left = [file.name for file in (box / "models").iterdir() if file.name.endswith(".partial")]
        assert not left  # what was half written is removed by what comes next
    assert killed >= 4 and status == 0
    assert seen == allowed


def test_a_full_disk_refuses_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    settings = settings_of(tmp_path)
    old = variant(tmp_path / "old.tflite", refer_below=0.8)
    variant(tmp_path / "new.tflite", refer_below=0.9)
    install(tmp_path / "old.tflite", settings, tmp_path / "none")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(LeukoscopeError, match="No space left on device"):
            install(tmp_path / "new.tflite", settings, tmp_path / "none")
    assert installation.of_settings(settings).sha256 == old.sha256


def test_a_model_with_which_the_daemon_never_becomes_ready_is_given_up(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    new = variant(tmp_path / "new.tflite", refer_below=0.9)
    install(tmp_path / "new.tflite", settings, tmp_path / "none")
    for _ in range(installation.STARTS):
        installation.begins(settings)
        assert installation.of_settings(settings).sha256 == new.sha256
    installation.begins(settings)
    assert installation.of_settings(settings).sha256 == SHIPPED.sha256
    assert "never became ready" in installation.store_of(settings).state().fault


def test_a_proven_model_may_restart_as_often_as_it_likes(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    new = variant(tmp_path / "new.tflite", refer_below=0.9)
    install(tmp_path / "new.tflite", settings, tmp_path / "none")
    installation.begins(settings)
    installation.proven(settings, new.sha256)
    for _ in range(10):
        installation.begins(settings)
    assert installation.of_settings(settings).sha256 == new.sha256


def test_two_installations_at_once(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    variant(tmp_path / "new.tflite", refer_below=0.9)
    with (
        installation.store_of(settings).writing(),
        pytest.raises(LeukoscopeError, match="another installation"),
    ):
        install(tmp_path / "new.tflite", settings, tmp_path / "none")


def during_the_trial(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do it once while the next installation tries its model."""
    compare = installation.compare

    def compared(*given: object) -> object:
        monkeypatch.setattr(installation, "compare", compare)
        work()
        return compare(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(installation, "compare", compared)


def test_what_is_installed_while_another_model_is_tried_stays_on_the_way_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    first, second = (variant(tmp_path / f"{n}.tflite", refer_below=n / 10) for n in (7, 8))
    during_the_trial(monkeypatch, lambda: install(tmp_path / "7.tflite", settings, tmp_path / "none"))
    with pytest.raises(LeukoscopeError, match="another model was installed"):
        install(tmp_path / "8.tflite", settings, tmp_path / "none")
    assert installation.of_settings(settings).sha256 == first.sha256
    install(tmp_path / "8.tflite", settings, tmp_path / "none")
    assert installation.of_settings(settings).sha256 == second.sha256
    assert installation.back(settings).sha256 == first.sha256
    assert installation.back(settings).sha256 == SHIPPED.sha256


def test_a_step_back_while_another_model_is_tried_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    for n in (7, 8):
        variant(tmp_path / f"{n}.tflite", refer_below=n / 10)
    install(tmp_path / "7.tflite", settings, tmp_path / "none")
    during_the_trial(monkeypatch, lambda: installation.back(settings))
    with pytest.raises(LeukoscopeError, match="another model was installed"):
        install(tmp_path / "8.tflite", settings, tmp_path / "none")
    assert installation.of_settings(settings).sha256 == SHIPPED.sha256


def test_a_start_that_counts_does_not_undo_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    for n in (7, 8):
        variant(tmp_path / f"{n}.tflite", refer_below=n / 10)
    install(tmp_path / "7.tflite", settings, tmp_path / "none")
    writing = Store.writing

    def after_another(store: Store) -> contextlib.AbstractContextManager[None]:
        monkeypatch.setattr(Store, "writing", writing)
        install(tmp_path / "8.tflite", settings, tmp_path / "none")
        return writing(store)

    monkeypatch.setattr(Store, "writing", after_another)
    installation.begins(settings)
    state = installation.store_of(settings).state()
    assert state.current == read_model(tmp_path / "8.tflite").sha256
    assert state.trial is not None and state.trial.starts == 1


def test_a_failed_model_is_not_gone_back_to_if_another_one_was_installed_meanwhile(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    bad, good = (variant(tmp_path / f"{n}.tflite", refer_below=n / 10) for n in (7, 8))
    for n in (7, 8):
        install(tmp_path / f"{n}.tflite", settings, tmp_path / "none")
    assert installation.back(settings, "it fails", failed=bad.sha256).sha256 == good.sha256
    assert installation.store_of(settings).state().trial is not None
    assert installation.back(settings, "it fails", failed=good.sha256).sha256 == bad.sha256
