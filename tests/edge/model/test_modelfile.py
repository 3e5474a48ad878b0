"""The model file: written whole, read back, and refused with the reason where anything is wrong."""

import hashlib
import io
import random
import shutil
import struct
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_model import CARD, SIDE_PX, flatbuffer, input_quantisation, manifest, write_tiny

from edge.errors import InputError
from edge.imaging.preprocess import Geometry
from edge.model.classifier import Classifier, judge
from edge.model.file import (
    MAX_FILE_BYTES,
    InputFormat,
    ModelFile,
    OutputFormat,
    read_model,
    verify,
    write_model,
)


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return write_tiny(tmp_path / "tiny.tflite", temperature=1.3, metrics={"accuracy": 0.9})


def archive_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """The tiny flatbuffer with any archive behind it."""
    file = io.BytesIO(flatbuffer())
    with zipfile.ZipFile(file, "a", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def members_of(model: ModelFile) -> dict[str, bytes]:
    with zipfile.ZipFile(model.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(path: Path, reason: str) -> None:
    """`read_model` refuses the file in one line that names it and the reason."""
    with pytest.raises(InputError) as caught:
        read_model(path)
    message = str(caught.value)
    assert message.count(str(path)) == 1
    assert reason.lower() in message.lower()  # libraries' own words differ in case between versions
    assert "\n" not in message


def test_what_was_written_is_read_back(model: ModelFile) -> None:
    read = read_model(model.path)
    assert read == model
    assert read.flatbuffer == flatbuffer() and read.card == CARD
    assert read.manifest.temperature == 1.3 and read.manifest.metrics == {"accuracy": 0.9}
    assert read.sha256 == hashlib.sha256(read.path.read_bytes()).hexdigest()
    verify(read)


def test_the_tiny_model_is_quantised_exactly_as_a_camera_gives_pixels(model: ModelFile) -> None:
    scale, zero_point = input_quantisation(model)
    assert scale == pytest.approx(1 / 255, rel=1e-6) and zero_point == -128


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_tiny(tmp_path / name).path.read_bytes() for name in ("a.tflite", "b.tflite"))
    assert first == second
    assert {entry.name for entry in tmp_path.iterdir()} == {"a.tflite", "b.tflite"}  # nothing temporary left


def test_an_existing_file_is_replaced_and_every_user_may_read_it(model: ModelFile) -> None:
    write_tiny(model.path, name="newer")
    assert read_model(model.path).manifest.name == "newer"
    assert model.path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_lists_and_tests_the_file_without_complaint(model: ModelFile) -> None:
    for option in ("-l", "-t"):
        result = subprocess.run(["unzip", option, model.path], capture_output=True, text=True, check=False)
        assert result.returncode == 0 and result.stderr == ""
        assert all(name in result.stdout for name in ("manifest.json", "labels.txt", "card.md"))


def test_the_whole_file_loads_as_a_plain_tflite_model(model: ModelFile) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model.path))
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 32, 32, 3]


def test_keys_from_a_later_version_are_ignored(model: ModelFile) -> None:
    members = members_of(model)
    members["manifest.json"] = members["manifest.json"].replace(b'"name"', b'"later": 1,\n  "name"', 1)
    model.path.write_bytes(archive_of(members, zipfile.ZIP_DEFLATED))
    assert read_model(model.path).manifest == model.manifest


def test_missing_folder_and_foreign_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.tflite", "no such model file")
    refused(tmp_path, "this is a folder")
    for name, content in (("empty", b""), ("text", b"hello, world\n" * 100)):
        path = tmp_path / name
        path.write_bytes(content)
        refused(path, "not a TFLite model (no TFL3 at offset 4)")


def test_a_plain_tflite_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(flatbuffer())
    refused(path, "a plain TFLite file without manifest (or one cut short); make one with leukoscope export")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    refused(path, "larger than 64 MiB")


def test_cut_short_anywhere_is_refused(model: ModelFile) -> None:
    data = model.path.read_bytes()
    for length in (*range(8, len(data), 97), len(data) - 1):
        model.path.write_bytes(data[:length])
        with pytest.raises(InputError, match="cut short"):
            read_model(model.path)
    model.path.write_bytes(data + b"\n")
    refused(model.path, "something was added")


def test_one_changed_byte_anywhere_never_gives_another_model(model: ModelFile) -> None:
    data = model.path.read_bytes()
    for position in range(0, len(data), 11):
        altered = bytearray(data)
        altered[position] ^= 0x40
        model.path.write_bytes(bytes(altered))
        try:
            read = read_model(model.path)
        except InputError:
            continue
        assert position >= len(model.flatbuffer)  # a field of the archive that means nothing, like a date
        assert read.manifest == model.manifest and read.flatbuffer == model.flatbuffer


def test_an_altered_flatbuffer_is_refused(model: ModelFile) -> None:
    data = bytearray(model.path.read_bytes())
    data[len(model.flatbuffer) // 2] ^= 1
    model.path.write_bytes(bytes(data))
    refused(model.path, "the flatbuffer was altered: its SHA-256 is not the manifest's")


@pytest.mark.parametrize("labels", [["ALL"], ["ALL", "ALL"], ["ALL", "HEM", "AML"], ["all", "hem"], []])
def test_other_labels_are_refused(model: ModelFile, tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(InputError, match="the labels are"):
        write_tiny(tmp_path / "other.tflite", labels=labels)
    assert not (tmp_path / "other.tflite").exists()
    members = members_of(model)
    changed = msgspec.json.decode(members["manifest.json"])
    changed["labels"] = labels
    members["manifest.json"] = msgspec.json.encode(changed)
    model.path.write_bytes(archive_of(members))
    refused(model.path, "not ALL and HEM")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["HEM", "ALL"]},
        {"temperature": 2.0},
        {"refer_below": 0.9},
        {"geometry": Geometry(crop=32, size=SIDE_PX)},
        {"training": {"recipe": "other"}},
    ],
)
def test_any_change_of_the_file_gives_it_another_identity(
    model: ModelFile, tmp_path: Path, change: dict[str, Any]
) -> None:
    """The flatbuffer is the same, but the file would answer otherwise."""
    other = write_tiny(
        tmp_path / "other.tflite", **{"temperature": 1.3, "metrics": {"accuracy": 0.9}} | change
    )
    verify(other)
    assert other.manifest.flatbuffer_sha256 == model.manifest.flatbuffer_sha256
    assert other.sha256 != model.sha256 and read_model(other.path).sha256 == other.sha256


def test_a_changed_card_is_another_file(model: ModelFile) -> None:
    members = members_of(model) | {"card.md": b"# Safe for diagnosis"}
    before, _ = model.sha256, model.path.write_bytes(archive_of(members))
    assert read_model(model.path).sha256 != before


def test_a_model_may_name_its_classes_otherwise(tmp_path: Path) -> None:
    made = write_tiny(tmp_path / "own.tflite", labels=["normal cell", "blast"], positive="blast")
    read = read_model(made.path)
    assert (read.manifest.positive_label(), read.manifest.negative_label()) == ("blast", "normal cell")
    # Red above blue is the first of the labels.
    red, blue = (np.zeros((64, 64, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = 250, 250
    classifier = Classifier(read)
    for frame, likelier in ((red, "normal cell"), (blue, "blast")):
        probabilities = classifier.classify(frame).probabilities
        assert probabilities.keys() == {"blast", "normal cell"}
        assert max(probabilities, key=probabilities.__getitem__) == likelier


def test_at_a_tie_the_verdict_is_the_positive_class() -> None:
    clear = {"contrast": 10.0, "stained": 0.9, "sharpness": 2.0, "brightness": 150.0, "saturated": 0.0}
    for positive in ("blast", "normal"):
        assert judge({"normal": 0.5, "blast": 0.5}, clear, 0.0, positive=positive) == (positive, [])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": ["blast", "refer"]}, "not ALL and HEM or the names of two other classes"),
        ({"labels": ["blast", "Blast"]}, "not ALL and HEM or the names of two other classes"),
        ({"labels": ["blast", "normal"], "positive": "ALL"}, "the positive class is ALL"),
    ],
)
def test_names_that_cannot_be_classes_are_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        write_tiny(tmp_path / "own.tflite", **change)


def test_labels_txt_in_another_order_is_refused(model: ModelFile) -> None:
    model.path.write_bytes(archive_of(members_of(model) | {"labels.txt": b"HEM\nALL\n"}))
    refused(model.path, "labels.txt says ['HEM', 'ALL'], manifest.json says ['ALL', 'HEM']")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'"schema": 1', b'"schema": 2', "manifest schema is 2, this version reads 1"),
        (b'"dtype": "int8"', b'"dtype": "float32"', "$.input.dtype"),
        (b'"RGB"', b'"BGR"', "$.input.colour"),
        (b'"temperature": 1.3', b'"temperature": 0', "$.temperature"),
        (b'"crop": 64', b'"crop": 0', "geometry crop is 0"),
        (b'"probabilities"', b'"logits"', 'no output named "probabilities"'),
        (b'"softmax"', b'"linear"', "it must be an int8 softmax"),
        (b'"name": "tiny"', b'"nom": "tiny"', "`name`"),
        (b"{", b"[", "manifest.json"),
        (b'"name": "tiny"', b'"name": "ti\xff"', "utf-8"),
        (b'"name": "tiny"', b'"name": "\\u001b[2Jtiny"', "matching regex"),
        (b'"name": "tiny"', b'"name": "' + b"tiny" * 1000 + b'"', "length <= 100"),
        (b'"training": {}', b'"training": {"a": ' + b"[" * 10**5 + b"]" * 10**5 + b"}", "recursion"),
        (b"[\n        1,\n        2\n      ]", b"[1, 2" + b", 1" * 10**5 + b"]", "length <= 8"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    model: ModelFile, before: bytes, after: bytes, reason: str
) -> None:
    members = members_of(model)
    assert before in members["manifest.json"]
    members["manifest.json"] = members["manifest.json"].replace(before, after, 1)
    model.path.write_bytes(archive_of(members))
    refused(model.path, reason)


@pytest.mark.parametrize(
    ("wrong", "pixel"),
    [
        (
            InputFormat("int8", 1 / 127.5, 0, "RGB"),
            "pixel 0 would be the quantised value 0.0, not about -128",
        ),
        (InputFormat("int8", 1 / 255, -128, "RGB", low=-1.0), "pixel 0 would be"),
        (InputFormat("int8", 1 / 255, -128, "RGB", high=255.0), "pixel 255 would be"),
        (InputFormat("int8", 1 / 255, -128, "RGB", low=1.0, high=0.0), "pixel 0 would be"),
    ],
)
def test_a_pixel_range_that_does_not_fill_the_input_is_refused(
    model: ModelFile, tmp_path: Path, wrong: InputFormat, pixel: str
) -> None:
    with pytest.raises(InputError, match=pixel):
        write_tiny(tmp_path / "other.tflite", input=wrong)
    members = members_of(model)
    changed = msgspec.json.decode(members["manifest.json"])
    changed["input"] = msgspec.to_builtins(wrong)
    model.path.write_bytes(archive_of(members | {"manifest.json": msgspec.json.encode(changed)}))
    refused(model.path, pixel)


def test_a_manifest_without_a_pixel_range_means_0_to_1(model: ModelFile) -> None:
    members = members_of(model)
    changed = msgspec.json.decode(members["manifest.json"])
    del changed["input"]["low"], changed["input"]["high"]
    model.path.write_bytes(archive_of(members | {"manifest.json": msgspec.json.encode(changed)}))
    assert read_model(model.path).manifest == model.manifest


def test_a_missing_member_is_refused(model: ModelFile) -> None:
    members = members_of(model)
    del members["card.md"]
    model.path.write_bytes(archive_of(members))
    refused(model.path, "0 members named card.md")


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that Python holds at once in the course of some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class TestArchivesThatWouldFillTheMemory:
    def test_what_is_held_at_once_is_a_few_times_the_file_however_much_it_would_unpack_to(
        self, model: ModelFile
    ) -> None:
        for name in ("card.md", "manifest.json"):
            bomb = archive_of(members_of(model) | {name: bytes(40 * 2**20)}, zipfile.ZIP_DEFLATED)
            path = model.path.with_name(f"bomb-{name}.tflite")
            path.write_bytes(bomb)
            peak = peak_bytes(lambda path=path, name=name: refused(path, f"{name} is larger than 1 MiB"))
            assert peak < 8 * 2**20
        assert peak_bytes(lambda: read_model(model.path)) < 2**20

    def test_a_member_that_unpacks_to_too_much(self, model: ModelFile) -> None:
        bomb = archive_of(members_of(model) | {"card.md": bytes(200 * 2**20)}, zipfile.ZIP_DEFLATED)
        assert len(bomb) < 2**20
        model.path.write_bytes(bomb)
        refused(model.path, "card.md is larger than 1 MiB")

    def test_a_bomb_that_declares_a_small_size(self, model: ModelFile) -> None:
        size = 20 * 2**20
        bomb = archive_of(members_of(model) | {"card.md": bytes(size)}, zipfile.ZIP_DEFLATED)
        model.path.write_bytes(bomb.replace(struct.pack("<L", size), struct.pack("<L", 100)))
        refused(model.path, "archive behind the flatbuffer is damaged")

    def test_too_many_members(self, model: ModelFile) -> None:
        more = {f"more-{number}": b"" for number in range(20)}
        model.path.write_bytes(archive_of(members_of(model) | more))
        refused(model.path, "23 members; 16 is the most")

    def test_decompressors_without_a_bound(self, model: ModelFile) -> None:
        model.path.write_bytes(archive_of(members_of(model), zipfile.ZIP_LZMA))
        refused(model.path, "neither stored nor deflated")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda: manifest(geometry=Geometry(crop=64, size=48)), r"input has shape \[1, 32, 32, 3\]"),
        (
            lambda: manifest(
                outputs=[OutputFormat("probabilities", 0, [1, 2], "int8", 0.5, -128, "softmax")]
            ),
            "output probabilities is quantised with scale",
        ),
        (
            lambda: manifest(
                outputs=[OutputFormat("probabilities", 3, [1, 2], "int8", 1 / 256, -128, "softmax")]
            ),
            "has index 3, the network has 1",
        ),
    ],
)
def test_a_network_that_is_not_as_the_manifest_says_is_refused(
    tmp_path: Path, damage: Callable[[], "object"], reason: str
) -> None:
    written = write_model(tmp_path / "wrong.tflite", flatbuffer(), damage(), CARD)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=reason):
        verify(read_model(written.path))


def test_a_float_network_and_one_of_three_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.tflite"
    with pytest.raises(InputError, match="input is float32, the manifest says int8; export it with int8"):
        verify(write_model(path, flatbuffer(quantised=False), manifest(), CARD))
    with pytest.raises(
        InputError, match=r"output probabilities has shape \[1, 3\], the manifest says \[1, 2\]"
    ):
        verify(write_model(path, flatbuffer(classes=3), manifest(), CARD))


def test_a_network_with_tensors_that_would_fill_the_memory_is_refused_before_they_are_made(
    tmp_path: Path,
) -> None:
    network = schema.ModelT.InitFromPackedBuf(flatbuffer(), 0)
    graph = network.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = [1, 100_000, 100_000, 3]
    builder = flatbuffers.Builder(4096)
    builder.Finish(network.Pack(builder), b"TFL3")
    file = write_model(tmp_path / "huge.tflite", bytes(builder.Output()), manifest(), CARD)
    with pytest.raises(InputError, match=r"would take 28610 MiB; 64 are the most"):
        verify(file)


def test_a_network_that_computes_in_float_inside_is_refused(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    def network(pictures: Any) -> Any:
        # TFLite has no sine of integers.
        return tf.nn.softmax(tf.math.sin(tf.reduce_mean(pictures, axis=(1, 2))[:, :2]))

    def representative() -> Any:
        for _ in range(4):
            pixels = np.zeros((1, SIDE_PX, SIDE_PX, 3), np.float32)
            pixels[0, ::2] = 1.0
            yield [pixels]

    concrete = tf.function(network).get_concrete_function(tf.TensorSpec((1, SIDE_PX, SIDE_PX, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.inference_input_type = converter.inference_output_type = tf.int8
    file = write_model(tmp_path / "mixed.tflite", bytes(converter.convert()), manifest(), CARD)
    with pytest.raises(InputError, match=r"the network computes in float32 inside \(tensor .*all in int8"):
        verify(file)


def test_damage_under_a_hash_that_was_made_to_fit_is_refused_or_harmless(model: ModelFile) -> None:
    rng, refusals = random.Random(5), 0
    for _ in range(150):
        damaged = bytearray(model.flatbuffer)
        for _ in range(rng.choice((1, 2, 5))):
            damaged[rng.randrange(8, len(damaged))] ^= 1 << rng.randrange(8)
        try:
            verify(ModelFile(model.path, model.manifest, bytes(damaged), CARD))
        except InputError as error:
            refusals += 1
            assert str(error).startswith(f"{model.path}: ")
    assert refusals > 30


def test_a_flatbuffer_that_is_garbage_is_refused_by_the_interpreter(tmp_path: Path) -> None:
    garbage = flatbuffer()[:8] + bytes(500)
    with pytest.raises(InputError, match=r"wrong\.tflite: the interpreter cannot load the network"):
        verify(write_model(tmp_path / "wrong.tflite", garbage, manifest(), CARD))


def test_writing_what_could_not_be_read_is_refused(model: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    with pytest.raises(InputError, match="not a TFLite flatbuffer"):
        write_model(path, b"something else", manifest(), CARD)
    with pytest.raises(InputError, match="already has an archive"):
        write_model(path, model.path.read_bytes(), manifest(), CARD)
    with pytest.raises(InputError, match=r"temperature"):
        write_model(path, flatbuffer(), manifest(temperature=0.0), CARD)
    assert not path.exists()
