"""The card of a model: how it was made, what it reaches, and what it must not be used for."""

from typing import Any

from edge.modelfile import Manifest

_HEAD = """# {name}

**Research and second opinion only. Not a medical device, not a diagnosis.** One cell decides nothing: a
hematologist looks at the slide.

## What it is
MobileNet_M (MobileNet V1 with the head of the MobileNet_M paper), int8, for single white cells: ALL
(leukemic blast) or HEM (healthy precursor). Input: a centred crop of {crop}×{crop} pixels, resized to
{size}×{size}, RGB.

## How it was trained
On {images} images of the train side of fold {fold} of {data}, split by {split} (seed {split_seed}), from
ImageNet weights, recipe `{recipe}`; {epochs} epochs, the weights of epoch {best_epoch}, which has the
lowest validation loss. Calibrated for int8 on {representative} of its training crops.

## What it reaches
"""

_TAIL = """
Cells of one patient stand on several sides of a split by image, so its figures say little about a new
patient. The row of other subjects has no patient in common with the training, but few cells: read it as a
warning, not as a measurement to two figures.

Measured with `leukoscope export`, which compares the float model and this file on the same cells. The
figures by subject are in the manifest (`leukoscope model show`).

## What it must not be used for
- To diagnose, or to leave out a look through the microscope.
- For other stains, magnifications or preparations than those of C-NMC 2019, or cells that are not cut out
  on black: none of that has been measured.
- For whole fields: it looks at the one cell in the centre.

## Licence and attribution
Apache-2.0. Trained on C-NMC 2019, CC BY 3.0: Gupta, A. & Gupta, R. (2019), ALL Challenge dataset of ISBI
2019 (C-NMC 2019), The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r. Started from the ImageNet
weights of Keras' MobileNet (Apache-2.0).
"""


def card(manifest: Manifest) -> str:
    """The card in Markdown, written from the manifest alone."""
    training = {**manifest.training, "representative": len(manifest.training["representative"])}
    head = _HEAD.format(
        name=manifest.name, crop=manifest.geometry.crop, size=manifest.geometry.size, **training
    )
    rows = [
        "| cells | model | n | accuracy | AUC | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cells, kinds in manifest.metrics.items():
        rows += [_row(cells, kind, figures) for kind, figures in kinds.items()]
    parity = manifest.parity
    agreement = (
        f"\n\nint8 and float agree on {parity['agreement']:.2%} of {parity['n']} test cells; int8 loses "
        f"{parity['drop_points']:.2f} points of accuracy; the largest change of a probability is "
        f"{parity['largest_probability_change']:.3f}.\n"
    )
    return head + "\n".join(rows) + agreement + _TAIL


def _row(cells: str, kind: str, figures: dict[str, Any]) -> str:
    values = (figures[key] for key in ("accuracy", "auc", "sensitivity", "specificity", "ece"))
    shown = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
    return f"| {cells} | {kind} | {figures['n']} | {shown} |"
