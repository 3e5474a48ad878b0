"""The small networks of whole fields, each a file like the classifier's: what finds cells, what tells their kind."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import InputError
from edge.host import durable
from edge.imaging.frame import Pixels
from edge.model import bundle, installed
from edge.model.file import Name, make_interpreter

SCHEMA = 1
FOLDER = "field"
"""Of the folder of models: the classifiers stand beside it, and no list of them shows these."""

Task = Literal["cells", "kind"]


class Quantised(msgspec.Struct, frozen=True):
    """How a tensor holds real values: real = scale · (quantised - zero_point)."""

    scale: Annotated[float, msgspec.Meta(gt=0)]
    zero_point: Annotated[int, msgspec.Meta(ge=-128, le=127)]


class NetworkManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the box must know about such a network, and what a reader should. Unknown keys are ignored.

    Attributes:
        task: "cells" finds white cells, "kind" tells lymphoid cells from others.
        labels: what its output's planes mean, in their order.
        input: of the tensor; a pixel p is the quantised value p - 128.
        output: of the tensor.
        thresholds: what the box compares its output with.
        training, metrics, tools: how it was made and what it does on which pictures.
        flatbuffer_sha256, flatbuffer_bytes: of the part before the archive; `write_network` fills them.
    """

    schema: int = SCHEMA
    name: Name
    task: Task
    labels: Annotated[list[str], msgspec.Meta(max_length=16)]
    input: Quantised
    output: Quantised
    thresholds: dict[str, float] = {}
    training: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    tools: dict[str, Any] = {}
    flatbuffer_sha256: str = ""
    flatbuffer_bytes: int = 0


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A network's file that was read and found whole."""

    path: Path
    manifest: NetworkManifest
    flatbuffer: bytes
    card: str


def read_network(path: Path, task: Task) -> NetworkFile:
    """Read such a file and check everything that needs no interpreter.

    Raises:
        InputError: it is missing, is no such network, or is cut short, altered or for another task.
    """
    data = bundle.read_bounded(path)
    try:
        flatbuffer, members = bundle.split(data)
        try:
            manifest = msgspec.json.decode(members["manifest.json"], type=NetworkManifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"manifest.json: {error}") from error
        if manifest.schema != SCHEMA:
            raise InputError(f"schema {manifest.schema}, this version reads {SCHEMA}; update leukoscope")
        if manifest.task != task:
            raise InputError(f"this network is for the task {manifest.task}, not for {task}")
        if hashlib.sha256(flatbuffer).hexdigest() != manifest.flatbuffer_sha256:
            raise InputError("the flatbuffer was altered: its SHA-256 is not the manifest's; copy it again")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return NetworkFile(path, manifest, flatbuffer, members["card.md"].decode("utf-8", errors="replace"))


def write_network(path: Path, flatbuffer: bytes, manifest: NetworkManifest, card: str) -> NetworkFile:
    """Write such a file, whole or not at all; the same content gives the same bytes.

    Raises:
        LeukoscopeError: it cannot be written.
    """
    manifest = msgspec.structs.replace(
        manifest, flatbuffer_sha256=hashlib.sha256(flatbuffer).hexdigest(), flatbuffer_bytes=len(flatbuffer)
    )
    labels = "".join(f"{label}\n" for label in manifest.labels).encode()
    json = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    members = dict(zip(bundle.MEMBERS, (json, labels, card.encode()), strict=True))
    durable.replace_file(path, bundle.append(flatbuffer, members))
    return NetworkFile(path, manifest, flatbuffer, card)


def shipped_network(task: Task) -> Path:
    """The network of a task where none is named: the source checkout's, or the installed one.

    Raises:
        InputError: there is none.
    """
    for folder in installed.places():
        if (file := folder / FOLDER / f"{task}.tflite").is_file():
            return file
    looked_at = " or ".join(str(folder / FOLDER) for folder in installed.places())
    raise InputError(f"no network for the task {task}: {task}.tflite is not in {looked_at}; install it again")


class Network:
    """Runs one such file. Not for use by several threads at once: the tensors are shared.

    Raises:
        InputError: the network does not load, or is not what its manifest says.
        LeukoscopeError: no interpreter is installed.
    """

    def __init__(self, file: NetworkFile, threads: int = 1):
        self.manifest = file.manifest
        self._interpreter = make_interpreter(file.flatbuffer, threads)
        entry, out = self._interpreter.get_input_details()[0], self._interpreter.get_output_details()[0]
        for name, details, wanted in (
            ("input", entry, file.manifest.input),
            ("output", out, file.manifest.output),
        ):
            scale, zero_point = details["quantization"]
            if (
                details["dtype"] is not np.int8
                or not np.isclose(scale, wanted.scale)
                or zero_point != wanted.zero_point
            ):
                raise InputError(f"{file.path}: its {name} is not what the manifest says")
        self._input, self._output = entry["index"], out["index"]
        self._shape = tuple(int(side) for side in entry["shape"])
        self._scale = np.float32(file.manifest.output.scale)
        self._zero_point = np.float32(file.manifest.output.zero_point)

    def run(self, pictures: Pixels) -> npt.NDArray[np.float32]:
        """The output for a batch of pictures; another shape than before costs some milliseconds once.

        Args:
            pictures: (N, H, W, 3) uint8 RGB.

        Returns:
            The output tensor, float32.
        """
        if pictures.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, list(pictures.shape))
            self._interpreter.allocate_tensors()
            self._shape = pictures.shape
        # Straight into the interpreter's own memory, of which no view may be held while it runs.
        np.bitwise_xor(pictures, 0x80, out=self._interpreter.tensor(self._input)().view(np.uint8))
        self._interpreter.invoke()
        output = self._interpreter.get_tensor(self._output).astype(np.float32)
        output -= self._zero_point
        output *= self._scale
        return output  # type: ignore[no-any-return]
