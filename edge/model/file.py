"""The model file: a TFLite flatbuffer with its manifest, labels and model card; see `edge.model.bundle`."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from edge.errors import InputError
from edge.host.durable import replace_file
from edge.imaging.balance import CellMean
from edge.imaging.preprocess import Geometry
from edge.model import adaptation as adaptations
from edge.model import bundle
from edge.model.adaptation import Adaptation
from edge.model.bundle import MAX_FILE_BYTES as MAX_FILE_BYTES  # a limit of the model file as a whole
from edge.model.drift import Summary
from edge.model.interpreter import make_interpreter as make_interpreter
from edge.model.labels import POSITIVE as POSITIVE
from edge.model.labels import positive_of

SCHEMA = 1
REFER = "refer"
"""The verdict that is no class."""

Name = Annotated[str, msgspec.Meta(max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""It stands in logs, records and terminals: nothing in it that steers those."""

_RANGE_TOLERANCE = 8
"""Quantised levels; a network that was calibrated on images without pure white or black may lack a few."""

_SCALE_TOLERANCE = 1e-5  # the flatbuffer holds scales as 32-bit floats, the manifest as decimal numbers


class InputFormat(msgspec.Struct, frozen=True):
    """The network's input tensor: real value = scale · (quantised - zero_point).

    Attributes:
        scale: of one quantised level.
        zero_point: the quantised value of the real value 0.
        low, high: the real values that the pixels 0 and 255 stand for.
        cell_mean: the mean colour that each cell is given before, see `edge.imaging.balance`; None for none.
    """

    dtype: Literal["int8"]
    scale: Annotated[float, msgspec.Meta(gt=0)]
    zero_point: Annotated[int, msgspec.Meta(ge=-128, le=127)]
    colour: Literal["RGB"]
    low: float = 0.0
    high: float = 1.0
    cell_mean: CellMean | None = None

    def quantised(self, pixel: float) -> float:
        """Where a pixel value stands among the quantised ones, neither rounded nor cut to -128…127."""
        return (self.low + pixel / 255 * (self.high - self.low)) / self.scale + self.zero_point


class OutputFormat(msgspec.Struct, frozen=True):
    """One output tensor; "probabilities" must be there, others may be.

    Attributes:
        index: its place among the network's outputs, from 0.
        shape: with the batch of 1 first.
    """

    name: Name
    index: Annotated[int, msgspec.Meta(ge=0, le=255)]
    shape: Annotated[list[int], msgspec.Meta(max_length=8)]
    dtype: str
    scale: float
    zero_point: int
    activation: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the box must know about a model, and what a reader should. Unknown keys are ignored.

    Attributes:
        labels: names of the two classes, in the order of the network's outputs.
        positive: the class that must not be missed; "" for ALL, or for the first label if none is ALL.
        temperature: the logits are divided by it (temperature scaling, Guo et al. 2017, fitted on
            validation data); 1 leaves them as they are.
        refer_below: largest class probability under which the verdict is "refer"; 0 for never.
        calibration: how temperature and refer_below were found, on which cells, and what they do there.
        localisation: how much of the activation map lies on the cell, over which cells.
        microns_per_pixel: of the images that it was trained on; 0 where that is not known.
        drift: of the features of the cells that it was made of; None where it is not known.
        adaptation: of a model that was adapted to a laboratory: reviewed, specimens, before, after, at; else None.
        flatbuffer_sha256, flatbuffer_bytes: of the part before the archive; `write_model` fills them.
    """

    schema: int = SCHEMA
    name: Name
    labels: Annotated[list[Name], msgspec.Meta(max_length=16)]
    positive: str = ""
    geometry: Geometry
    input: InputFormat
    outputs: Annotated[list[OutputFormat], msgspec.Meta(max_length=16)]
    # Beyond these the probabilities say nothing: 100 makes all of them 0.5, 0.01 makes all of them 0 or 1.
    temperature: Annotated[float, msgspec.Meta(ge=0.01, le=100)] = 1.0
    refer_below: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    calibration: dict[str, Any] = {}
    localisation: dict[str, Any] = {}
    microns_per_pixel: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    parity: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    drift: Summary | None = None
    adaptation: dict[str, Any] | None = None
    flatbuffer_sha256: str = ""
    flatbuffer_bytes: int = 0

    def positive_label(self) -> str:
        """The label of the positive class."""
        return positive_of(self.labels, self.positive)

    def negative_label(self) -> str:
        """The label of the other class."""
        return next(label for label in self.labels if label != self.positive_label())

    def classes(self) -> tuple[str, str]:
        """Both labels, the positive one first: the order of every record, table and colour."""
        return self.positive_label(), self.negative_label()

    def probabilities(self) -> OutputFormat:
        """The output that the verdict is read from.

        Raises:
            InputError: there is none, or it is not a quantised softmax.
        """
        for output in self.outputs:
            if output.name == "probabilities":
                if output.dtype != "int8" or output.activation != "softmax" or not output.scale > 0:
                    raise InputError(
                        f"output probabilities is {output.dtype} {output.activation} with scale "
                        f"{output.scale}; it must be an int8 softmax"
                    )
                return output
        raise InputError('the manifest has no output named "probabilities"')

    def activation_map(self) -> OutputFormat | None:
        """The output that says where a verdict comes from; None where the network has none.

        Raises:
            InputError: it is not an int8 map of as many channels as there are labels.
        """
        for output in self.outputs:
            if output.name == "activation_map":
                shape = output.shape
                if output.dtype != "int8" or len(shape) != 4 or shape[::3] != [1, len(self.labels)]:
                    raise InputError(
                        f"output activation_map is {output.dtype} of shape {shape}; it must be int8 of shape "
                        f"[1, height, width, {len(self.labels)}]"
                    )
                return output
        return None

    def features(self) -> OutputFormat | None:
        """The pooled features, which a laboratory's own head is fitted to; None where the network has none.

        Raises:
            InputError: they are not int8, one row of them.
        """
        for output in self.outputs:
            if output.name == "features":
                if output.dtype != "int8" or len(output.shape) != 2 or output.shape[0] != 1:
                    raise InputError(
                        f"output features is {output.dtype} of shape {output.shape}; it must be int8 of shape "
                        "[1, number of features]"
                    )
                return output
        return None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file that was read and found whole.

    Attributes:
        sha256: the model's identity in every record: of the whole file, in hexadecimal digits, so that a
            change of labels, temperature, referral limit or crop gives another one; "" if it is no file yet.
        adaptation: the laboratory's own last layer, or None.
        members: the archive's members as they are in the file.
    """

    path: Path
    manifest: Manifest
    flatbuffer: bytes
    card: str
    sha256: str = ""
    adaptation: Adaptation | None = None
    members: Mapping[str, bytes] = field(default_factory=dict)

    def refer_below(self) -> float:
        """Probability of the likelier class under which a cell is referred."""
        return self.manifest.refer_below if self.adaptation is None else self.adaptation.refer_below

    def summary(self) -> Summary | None:
        """Of the features of what it was made of, for the drift; that of the adaptation where there is one."""
        return self.manifest.drift if self.adaptation is None else self.adaptation.summary


def read_model(path: Path) -> ModelFile:
    """Read a model file and check everything that needs no interpreter; `verify` does the rest.

    Raises:
        InputError: the file is missing, is no model, or is cut short, altered or inconsistent.
    """
    data = bundle.read_bounded(path)
    try:
        flatbuffer, members = bundle.split(data)
        try:
            manifest = msgspec.json.decode(members["manifest.json"], type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"manifest.json: {error}") from error
        _check_manifest(manifest, members["labels.txt"])
        adaptation = _adaptation(manifest, members)
        if len(flatbuffer) != manifest.flatbuffer_bytes:
            raise InputError(
                f"the flatbuffer has {len(flatbuffer)} bytes, the manifest says {manifest.flatbuffer_bytes}"
            )
        if hashlib.sha256(flatbuffer).hexdigest() != manifest.flatbuffer_sha256:
            raise InputError("the flatbuffer was altered: its SHA-256 is not the manifest's; copy it again")
        card = members["card.md"].decode("utf-8", errors="replace")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return ModelFile(path, manifest, flatbuffer, card, hashlib.sha256(data).hexdigest(), adaptation, members)


def _adaptation(manifest: Manifest, members: Mapping[str, bytes]) -> Adaptation | None:
    content = members.get(adaptations.MEMBER)
    if (content is None) != (manifest.adaptation is None):
        where = "manifest.json" if content is None else adaptations.MEMBER
        raise InputError(f"only {where} tells of an adaptation; the file was altered")
    if content is None:
        return None
    adaptation, features = adaptations.decode(content), manifest.features()
    adaptations.Head(adaptation, features.shape[1] if features else 0)
    return adaptation


def write_model(
    path: Path, flatbuffer: bytes, manifest: Manifest, card: str, adaptation: Adaptation | None = None
) -> ModelFile:
    """Write a model file, whole or not at all; the same content gives the same bytes.

    Args:
        flatbuffer: as the converter gives it, nothing appended.
        manifest: hash and number of bytes are filled in here.
        card: the model card, Markdown.
        adaptation: the laboratory's own last layer, if there is one.

    Returns:
        The file as it was written, its manifest complete.

    Raises:
        InputError: these parts would make a file that `read_model` refuses.
        LeukoscopeError: the file cannot be written.
    """
    manifest = msgspec.structs.replace(
        manifest,
        flatbuffer_sha256=hashlib.sha256(flatbuffer).hexdigest(),
        flatbuffer_bytes=len(flatbuffer),
        adaptation=adaptation.facts() if adaptation else None,
    )
    labels = "".join(f"{label}\n" for label in manifest.labels).encode()
    json = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    try:
        # Ranges are checked when decoding only.
        _check_manifest(msgspec.json.decode(json, type=Manifest), labels)
        members = dict(zip(bundle.MEMBERS, (json, labels, card.encode()), strict=True))
        if adaptation is not None:
            members[adaptations.MEMBER] = adaptations.encode(adaptation)
            _adaptation(manifest, members)
        data = bundle.append(flatbuffer, members)
    except (InputError, msgspec.DecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    replace_file(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ModelFile(path, manifest, flatbuffer, card, sha256, adaptation, members)


def verify(model: ModelFile) -> None:
    """Load the network and compare it with the manifest.

    Raises:
        InputError: shapes, types, quantisation or number of labels do not fit, or it does not load.
        LeukoscopeError: no interpreter is installed.
    """
    open_model(model)


def open_model(model: ModelFile, threads: int = 1) -> Any:
    """The interpreter of a model file, its network compared with the manifest.

    Raises:
        InputError: as for `verify`.
        LeukoscopeError: no interpreter is installed.
    """
    try:
        interpreter = make_interpreter(model.flatbuffer, threads)
        _check_tensors(model.manifest, interpreter)
    except (InputError, UnicodeDecodeError) as error:  # the latter: of a tensor's name
        raise InputError(f"{model.path}: {error}") from error
    return interpreter


def _check_tensors(manifest: Manifest, interpreter: Any) -> None:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    size, expected = manifest.geometry.size, manifest.input
    if len(inputs) != 1:
        raise InputError(f"the network has {len(inputs)} inputs, not one")
    _check_tensor("input", inputs[0], [1, size, size, 3], "int8", expected.scale, expected.zero_point)
    for output in manifest.outputs:
        name = f"output {output.name}"
        if output.index >= len(outputs):
            raise InputError(f"{name} has index {output.index}, the network has {len(outputs)} outputs")
        details = outputs[output.index]
        _check_tensor(name, details, output.shape, output.dtype, output.scale, output.zero_point)
    for tensor in interpreter.get_tensor_details():
        if np.issubdtype(tensor["dtype"], np.floating):
            kind = np.dtype(tensor["dtype"]).name
            raise InputError(
                f"the network computes in {kind} inside (tensor {tensor['name']}); export it all in int8"
            )


def _check_tensor(
    name: str, details: Any, shape: list[int], dtype: str, scale: float, zero_point: int
) -> None:
    actual_dtype = details["dtype"].__name__
    if actual_dtype != dtype:
        hint = "; export it with int8 input and output" if actual_dtype == "float32" else ""
        raise InputError(f"{name} is {actual_dtype}, the manifest says {dtype}{hint}")
    actual_shape = [int(side) for side in details["shape"]]
    if actual_shape != shape:
        raise InputError(f"{name} has shape {actual_shape}, the manifest says {shape}")
    actual_scale, actual_zero_point = details["quantization"]
    if not math.isclose(actual_scale, scale, rel_tol=_SCALE_TOLERANCE) or actual_zero_point != zero_point:
        raise InputError(
            f"{name} is quantised with scale {actual_scale:.8g} and zero point {actual_zero_point}, "
            f"the manifest says {scale:.8g} and {zero_point}"
        )


def _check_manifest(manifest: Manifest, labels_txt: bytes) -> None:
    if manifest.schema != SCHEMA:
        raise InputError(
            f"manifest schema is {manifest.schema}, this version reads {SCHEMA}; update leukoscope"
        )
    _check_labels(manifest)
    listed = labels_txt.decode("utf-8", errors="replace").splitlines()
    if listed != manifest.labels:
        raise InputError(f"labels.txt says {listed}, manifest.json says {manifest.labels}")
    _check_pixel_range(manifest.input)
    shape, expected = manifest.probabilities().shape, [1, len(manifest.labels)]
    if shape != expected:
        raise InputError(f"output probabilities has shape {shape} in the manifest, not {expected}")
    manifest.activation_map()
    manifest.features()


def _check_labels(manifest: Manifest) -> None:
    labels, plain = manifest.labels, {label.casefold() for label in manifest.labels}
    official = plain == {"all", "hem"}
    if len(labels) != 2 or len(plain) != 2 or REFER in plain or (official and set(labels) != {"ALL", "HEM"}):
        raise InputError(f"the labels are {labels}, not ALL and HEM or the names of two other classes")
    if manifest.positive_label() not in labels:
        raise InputError(f"the positive class is {manifest.positive}, the labels are {labels}")


def _check_pixel_range(expected: InputFormat) -> None:
    """Refuse a scaling that a network cannot have been calibrated with.

    Pixels fill the input tensor. Where low and high are not those of the training, or are not given
    and it was not 0…1, the pixels would come to a part of it, or lie outside it and all look alike.
    """
    for pixel, quantised in ((0, -128), (255, 127)):
        actual = expected.quantised(pixel)
        if not abs(actual - quantised) <= _RANGE_TOLERANCE:
            raise InputError(
                f"input: pixel {pixel} would be the quantised value {actual:.1f}, not about {quantised}; scale "
                f"{expected.scale:.6g}, zero point {expected.zero_point} and the range {expected.low:g}…"
                f"{expected.high:g} do not belong together"
            )
