"""What a model file gives for some images, as the box computes it: run here and on 64-bit ARM.

python -m tests.board.outputs MODEL.tflite IMAGES.txt OUT.npz
"""

import platform
import sys
import time
from pathlib import Path

import numpy as np

from edge.imaging.balance import balanced
from edge.imaging.files import read_image
from edge.imaging.preprocess import prepare
from edge.model.classifier import quantisation_table
from edge.model.file import open_model, read_model


def main(file: str, listed: str, out: str, given: str = "") -> None:
    """Write the prepared crops, (N, size, size, 3) uint8, and every output tensor, (N, …) int8.

    Args:
        given: what another machine wrote; its crops go into the network, so that a difference between the
            networks is one of the networks.
    """
    model = read_model(Path(file))
    interpreter = open_model(model)
    entry = interpreter.get_input_details()[0]["index"]
    outputs = interpreter.get_output_details()
    table = quantisation_table(model.manifest.input)
    images = [Path(line) for line in Path(listed).read_text().splitlines()]
    crops = np.stack(
        [
            balanced(prepare(read_image(image), model.manifest.geometry), model.manifest.input.cell_mean)
            for image in images
        ]
    )
    found: dict[str, list[np.ndarray]] = {output.name: [] for output in model.manifest.outputs}
    started = time.monotonic()
    for crop in np.load(given)["crops"] if given else crops:
        interpreter.set_tensor(entry, table[crop][np.newaxis])
        interpreter.invoke()
        for output in model.manifest.outputs:
            found[output.name].append(interpreter.get_tensor(outputs[output.index]["index"])[0].copy())
    seconds = time.monotonic() - started
    np.savez(out, crops=crops, **{name: np.stack(values) for name, values in found.items()})
    print(f"{platform.machine()}: {len(images)} images in {seconds:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
