"""A backup holds the models that were installed, signed ones too, and the keys; a restore takes nothing newer away."""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest
from command import clean, leukoscope

pytest.importorskip("sqlalchemy")
pytest.importorskip("cryptography")
from edge.errors import LeukoscopeError
from edge.model.file import read_model, write_model
from edge.model.installation import install as installation
from edge.model.installation.signature import make_key, sign
from edge.model.installation.store import Store
from edge.model.installed import default_model
from edge.settings import load
from edge.upkeep.restore import restore, verify

SHIPPED = read_model(default_model())


class Box:
    """A box that trusts one key and runs a signed model, which was installed over another signed one."""

    def __init__(self, folder: Path):
        self.folder = folder / "box"
        self.folder.mkdir()
        self.config = self.folder / "leukoscope.toml"
        self.config.write_text(
            f"[outbox]\nfile = '{self.folder}/outbox.db'\n[archive]\ndirectory = '{self.folder}/archive'\n"
            f"[web]\ndatabase = 'sqlite:///{self.folder}/results.db'\n[model]\nfile = '{self.folder}/base.tflite'\n"
            f"directory = '{self.folder}/models'\ntrusted_keys = '{self.folder}/keys.pub'\n"
        )
        self.key = folder / "key"
        make_key(self.key, "Lab")
        shutil.copy(f"{self.key}.pub", self.folder / "keys.pub")
        self.made(self.folder / "base.tflite", 0.6, 1)
        for counter, below in ((5, 0.7), (7, 0.8)):
            self.install(self.made(folder / f"{counter}.tflite", below, counter))

    def made(self, file: Path, refer_below: float, counter: int) -> Path:
        manifest = msgspec.structs.replace(SHIPPED.manifest, refer_below=refer_below)
        write_model(file, SHIPPED.flatbuffer, manifest, SHIPPED.card)
        sign(file, self.key, counter)
        return file

    def install(self, file: Path) -> None:
        installation.install(file, load(self.config).model, self.folder / "archive")

    def runs(self) -> str:
        return installation.of_settings(load(self.config).model).sha256

    def backup(self, out: Path) -> None:
        clean(leukoscope("backup", "--config", self.config, "--out", out), 0)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_installed_models_come_back_on_an_empty_disk(box: Box, tmp_path: Path) -> None:
    now, before = box.runs(), read_model(tmp_path / "5.tflite").sha256
    box.backup(tmp_path / "b.tar")
    assert {f"installed/{now}.tflite", f"installed/{before}.tflite", "installed/state.json"} <= set(
        verify(tmp_path / "b.tar").members
    )
    shutil.rmtree(box.folder)
    done = leukoscope("restore", tmp_path / "b.tar")
    assert now[:12] in done.stdout and clean(done, 0) is not None
    assert box.runs() == now
    settings = load(box.config).model
    with pytest.raises(LeukoscopeError, match="older than what was installed"):  # the counters are back too
        box.install(box.made(tmp_path / "old.tflite", 0.9, 3))
    assert installation.back(settings).sha256 == before
    assert installation.back(settings).path == box.folder / "base.tflite"
    clean(leukoscope("restore", tmp_path / "b.tar"), 0)  # again: what runs now stays


def test_what_was_installed_since_stays(box: Box, tmp_path: Path) -> None:
    was = box.runs()
    box.backup(tmp_path / "b.tar")
    box.install(box.made(tmp_path / "9.tflite", 0.9, 9))
    now = box.runs()
    told = json.loads(leukoscope("restore", tmp_path / "b.tar", "--json").stdout)
    assert box.runs() == now
    kept = box.folder / "restored-models" / f"{was}.tflite"
    assert f"leukoscope model install {kept}" in told["model"] and read_model(kept).sha256 == was


def test_whom_a_box_trusts_is_not_changed_by_a_restore(box: Box, tmp_path: Path) -> None:
    box.backup(tmp_path / "b.tar")
    make_key(tmp_path / "other", "Other")
    shutil.copy(tmp_path / "other.pub", box.folder / "keys.pub")
    clean(leukoscope("restore", tmp_path / "b.tar"), 0)
    assert (box.folder / "keys.pub").read_text() == (tmp_path / "other.pub").read_text()


def test_an_installed_model_under_another_name_is_refused(box: Box, tmp_path: Path) -> None:
    file = box.folder / "models" / f"{box.runs()}.tflite"
    file.write_bytes((tmp_path / "5.tflite").read_bytes())
    box.backup(tmp_path / "b.tar")
    shutil.rmtree(box.folder)
    said = clean(leukoscope("restore", tmp_path / "b.tar"), 2)
    assert "not the model of its name" in said
    assert not (box.folder / "models" / "state.json").exists()


def test_a_box_without_installed_models_has_none_in_its_backup(tmp_path: Path) -> None:
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f"[archive]\ndirectory = '{tmp_path}/archive'\n[web]\ndatabase = 'sqlite:///{tmp_path}/results.db'\n"
        f"[model]\ndirectory = '{tmp_path}/models'\n"
    )
    clean(leukoscope("backup", "--config", config, "--out", tmp_path / "b.tar"), 0)
    assert not [name for name in verify(tmp_path / "b.tar").members if name.startswith("installed/")]
    clean(leukoscope("restore", tmp_path / "b.tar"), 0)
    assert not (tmp_path / "models").exists()


def test_what_is_installed_while_a_restore_begins_stays(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = box.runs()
    box.backup(tmp_path / "b.tar")
    shutil.rmtree(box.folder / "models")
    new, writing = box.made(tmp_path / "9.tflite", 0.9, 9), Store.writing

    def after_another(store: Store) -> AbstractContextManager[None]:
        monkeypatch.setattr(Store, "writing", writing)
        box.install(new)
        return writing(store)

    monkeypatch.setattr(Store, "writing", after_another)
    restore(tmp_path / "b.tar", None, None)
    assert box.runs() == read_model(new).sha256 != was
