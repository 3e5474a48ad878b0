"""Does one model file give the same int8 outputs on x86-64 and on 64-bit ARM? On real cells, bit by bit.

    python -m tests.board.arm64_parity --root ROOT --data C-NMC models/*.tflite

The aarch64 wheel of ai-edge-litert runs in a Debian arm64 root (`tests/board/arm64_root.sh` unpacks one) under user-mode
emulation, once as the processor of a Raspberry Pi 4 and once as that of a Pi 5, which has dot products of int8 and
so other kernels. Each side makes its own crops, and they are compared; the networks of both get those of x86-64. Last the
network here gets the board's crops: what a difference of crops does to verdicts.
Needs root, for mounts in a namespace of its own. Exit status 1 where a verdict differs.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edge.model.file import ModelFile, OutputFormat, make_interpreter, read_model, write_model
from export.int8.flatbuffer import operators, with_outputs
from tests.board import outputs

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ai-edge-litert", "numpy", "msgspec", "opencv-python-headless", "simplejpeg")
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


class Processor(NamedTuple):
    """What a board has: as QEMU knows it, and as Linux tells of it."""

    qemu: str
    part: str
    features: str
    boards: str


PROCESSORS = (
    Processor("cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid", "Raspberry Pi 4"),
    Processor(
        "cortex-a76",
        "0xd0b",
        "fp asimd evtstrm crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        "Raspberry Pi 5",
    ),
)


def main() -> int:
    """Compare every model on every processor; print a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL.tflite")
    parser.add_argument("--root", type=Path, required=True, help="a Debian arm64 root with python3")
    parser.add_argument("--data", type=Path, required=True, help="C-NMC cells")
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--processor", choices=[each.qemu for each in PROCESSORS], help="default: all")
    parser.add_argument("--wheels", type=Path, help="kept between runs (default: beside the root)")
    options = parser.parse_args()
    wheels = options.wheels or options.root.parent / "wheels-arm64"
    if not wheels.is_dir():
        install_wheels(options.root, wheels)
    images = some_images(options.data, options.cells)
    print(f"{len(images)} cells; ai-edge-litert {version('ai-edge-litert')} on both sides")
    differ = 0
    for model in options.models:
        for processor in PROCESSORS:
            if options.processor in (None, processor.qemu):
                differ += compare(model, processor, images, options, wheels)
    return 1 if differ else 0


def install_wheels(root: Path, wheels: Path) -> None:
    """The packages of this environment, in the same versions, for the Python of the root."""
    minor = max(
        int(path.name.split(".")[1])
        for path in (root / "usr/bin").glob("python3.*")
        if path.suffix[1:].isdigit()
    )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(wheels)]
    command += ["--only-binary=:all:", "--python-version", f"3.{minor}"]
    command += [f"--platform={platform}_aarch64" for platform in PLATFORMS]
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in PACKAGES)], check=True)


def some_images(data: Path, count: int) -> list[Path]:
    """So many, evenly over all folders of the training data."""
    images = sorted((data / "training_data").rglob("*.png"))
    return [images[i * len(images) // count] for i in range(min(count, len(images)))]


def compare(
    model: Path, processor: Processor, images: list[Path], options: argparse.Namespace, wheels: Path
) -> int:
    """Print how the two sides differ; the number of verdicts that do."""
    qemu = shutil.which("qemu-aarch64-static")
    if qemu is None:
        raise SystemExit("qemu-aarch64-static is missing: apt install qemu-user-static")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "here.txt").write_text("\n".join(map(str, images)))
        there = [Path("/mnt/cells") / image.relative_to(options.data) for image in images]
        (work / "there.txt").write_text("\n".join(map(str, there)))
        with_logits(read_model(model), work / "model.tflite")
        outputs.main(str(work / "model.tflite"), str(work / "here.txt"), str(work / "here.npz"))
        shell = [str(Path(__file__).with_name("arm64.sh")), str(options.root.resolve()), qemu]
        shell += [processor.qemu, processor.part, processor.features]
        shell += [str(path.resolve()) for path in (ROOT, wheels, options.data, work)]
        module = ["-m", "tests.board.outputs", "/mnt/work/model.tflite", "/mnt/work/there.txt"]
        subprocess.run(
            ["unshare", "--mount", "sh", *shell, *module, "/mnt/work/there.npz", "/mnt/work/here.npz"],
            check=True,
        )
        outputs.main(*(str(work / name) for name in ("model.tflite", "here.txt", "own.npz", "there.npz")))
        here, board, own = (tensors(work / name) for name in ("here.npz", "there.npz", "own.npz"))
        turned = report(model, processor, here, board)
        report_crops(model, here, own)
        return turned


def tensors(file: Path) -> dict[str, np.ndarray]:
    """What `outputs` wrote."""
    with np.load(file) as found:
        return dict(found)


def with_logits(model: ModelFile, out: Path) -> None:
    """The same network with what goes into its softmax as one more output, to see where a difference comes from."""
    manifest, flatbuffer = model.manifest, model.flatbuffer
    interpreter = make_interpreter(flatbuffer)
    kept = [interpreter.get_output_details()[output.index]["index"] for output in manifest.outputs]
    ends = [each.outputs[0] for each in operators(flatbuffer) if each.name in ("MEAN", "FULLY_CONNECTED")]
    mean = next(end for end in ends if end not in kept)  # the pooled features are a mean, too
    extended = with_outputs(flatbuffer, [*kept, mean])
    tensor = make_interpreter(extended).get_output_details()[-1]
    scale, zero_point = tensor["quantization"]
    shape = [int(side) for side in tensor["shape"]]
    renumbered = [
        msgspec.structs.replace(output, index=index) for index, output in enumerate(manifest.outputs)
    ]
    logits = OutputFormat("logits", len(kept), shape, "int8", float(scale), int(zero_point), "linear")
    write_model(out, extended, msgspec.structs.replace(manifest, outputs=[*renumbered, logits]), model.card)


def report(
    model: Path, processor: Processor, here: dict[str, np.ndarray], there: dict[str, np.ndarray]
) -> int:
    """One line on each tensor; the number of verdicts that differ."""
    manifest = read_model(model).manifest
    print(f"{manifest.name}, {processor.qemu} ({processor.boards})")
    for name, values in here.items():
        apart = np.abs(values.astype(int) - there[name].astype(int))
        images = apart.reshape(len(apart), -1).any(1).sum()
        same = "identical" if not images else f"{images} images differ, by {apart.max()} levels at most"
        print(f"  {name}: {same}; {np.count_nonzero(apart)} of {apart.size} values")
    return turned_verdicts(manifest.labels, here, there)


def turned_verdicts(labels: Sequence[str], here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> int:
    """How many of the images are ALL on one side alone."""
    of_all = labels.index("ALL")
    verdicts = [
        side["probabilities"][:, of_all] >= side["probabilities"][:, 1 - of_all] for side in (here, there)
    ]
    return int((verdicts[0] != verdicts[1]).sum())


def report_crops(model: Path, here: dict[str, np.ndarray], own: dict[str, np.ndarray]) -> None:
    """One line on the verdicts of the board's own crops.

    Args:
        own: what the network gives here for the crops that the board made.
    """
    turned = turned_verdicts(read_model(model).manifest.labels, here, own)
    apart = np.abs(here["probabilities"].astype(int) - own["probabilities"].astype(int)).max()
    count = len(own["probabilities"])
    print(f"  its own crops turn {turned} of {count} verdicts; a probability moves by {apart} of 256 at most")


if __name__ == "__main__":
    raise SystemExit(main())
