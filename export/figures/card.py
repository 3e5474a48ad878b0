"""The card of a model: how it was made, what it reaches, and what it must not be used for."""

from typing import Any

from edge.model.file import Manifest
from export.figures.evidence import CROSS_VALIDATION, NEW_PATIENTS, RESTS_ON
from export.figures.parity import change
from export.figures.report import KNOWN_PATIENTS, reached
from train.fit.recipe import MOBILENET_M

_HEAD = """# {name}

**Research and second opinion only. Not a medical device, not a diagnosis.** One cell decides nothing: a
hematologist looks at the slide.

## What it is
{network}, int8, for single white cells:
{classes}. Input: a centred crop of {crop}×{crop} pixels, resized to
{size}×{size}, RGB.{outputs}

## How it was trained
On {images}, {origin}, recipe `{recipe}`; {kept}.
Calibrated for int8 on {representative} of its training crops.

## What it reaches
"""

_MAP = """ Beside the probabilities it gives the class activation map: each position's share of the logits."""

_SPLIT_BY_IMAGE = """In a split by image, cells of one patient are in training and test set, so its figures say little about a new
patient. The row of other subjects, if there is one, has no patient in common with the training, but few
cells: read it as a warning, not as a measurement to two digits.
"""

_TRAINED_ON_ALL = """This model was trained on all available cells, so **no cell is left to judge this very file on**. {what}
"""

_MEASURED = """Measured with `leukoscope export`, which compares the float model and this file on the same cells. The
figures by subject are in the manifest (`leukoscope model show`).
"""

_TAIL = """
## What it must not be used for
- For a diagnosis, or instead of looking through the microscope.
- For other stains, magnifications or preparations than those of {data}{black}: none of that has been measured.
- For whole fields: it looks at the one cell in the centre.

## Licence and attribution
{source}{weights}
"""

_C_NMC = """Apache-2.0. Trained on C-NMC 2019, CC BY 3.0: Gupta, A. & Gupta, R. (2019), ALL Challenge dataset of ISBI
2019 (C-NMC 2019), The Cancer Imaging Archive, doi 10.7937/tcia.2019.dc64i46r."""

_OWN_DATA = "Trained on data that do not come with Leukoscope: name their source and licence before you pass the model on."

_IMAGENET = " Started from the ImageNet\nweights of Keras' MobileNet (Apache-2.0)."
_OTHER_WEIGHTS = " Started from\nweights that were there before: {weights}."

C_NMC = "C-NMC 2019"
_ROW = ("accuracy", "auc", "sensitivity", "specificity", "ece")


def card(manifest: Manifest) -> str:
    """The card in Markdown, written from the manifest alone."""
    parts = [_head(manifest), _evidence(manifest), _figures(manifest), _parity(manifest)]
    if manifest.training["split"] == "image":
        parts.append(_SPLIT_BY_IMAGE)
    parts += [_MEASURED, _calibration(manifest), _rests_on(manifest), _localisation(manifest)]
    weights = _started_from(manifest.training)
    official = manifest.training["data"] == C_NMC
    tail = _TAIL.format(
        weights=weights,
        data=C_NMC if official else "the data that it was trained on",
        black=", or cells that are not cut out\n  on black" if official else "",
        source=_C_NMC if official else _OWN_DATA,
    )
    return "\n".join(part for part in parts if part) + tail


def _head(manifest: Manifest) -> str:
    training, members = manifest.training, manifest.training.get("members", 1)
    whole = f"{training['data']}, split by {training['split']} (seed {training['split_seed']})"
    if training["split"] == "none":
        images = f"{_all_or_some(training)} images of {training['data']} that were available"
    else:
        images = f"{_some(training)} images of the train side of fold {training['fold']} of {whole}"
    return _HEAD.format(
        name=manifest.name,
        classes=_classes(manifest),
        network=_network(training, members),
        crop=manifest.geometry.crop,
        size=manifest.geometry.size,
        outputs=_MAP if any(output.name == "activation_map" for output in manifest.outputs) else "",
        images=images,
        origin="from random weights" if training["weights"] == "none" else "from\nImageNet weights",
        recipe=training["recipe"],
        kept=_kept(training),
        representative=len(training["representative"]),
    )


def _network(training: dict[str, Any], members: int) -> str:
    network = training.get("network", MOBILENET_M)
    if network != MOBILENET_M:
        return f"`{network}`, a rival of MobileNet_M that is there to be compared with (docs/rivals.md)"
    side_by_side = f"; {members} of them side by side, their log-odds averaged" if members > 1 else ""
    return f"MobileNet_M (MobileNet V1 with the head of the MobileNet_M paper{side_by_side})"


def _started_from(training: dict[str, Any]) -> str:
    if training["weights"] == "none":
        return ""
    if training.get("network", MOBILENET_M) == MOBILENET_M:
        return _IMAGENET
    return _OTHER_WEIGHTS.format(weights=training["weights"])


def _classes(manifest: Manifest) -> str:
    names = (manifest.positive_label(), manifest.negative_label())
    if names == ("ALL", "HEM"):
        return "ALL (leukemic blast) or HEM (healthy precursor)"
    return f"{names[0]} (the positive class) or {names[1]}"


def _some(training: dict[str, Any]) -> str:
    """How many images trained; with `train --limit` fewer than the split names."""
    named = training.get("images_of_the_split", training["images"])
    if named == training["images"]:
        return str(named)
    return f"{training['images']} (a quick trial, --limit {training['limit']}) of the {named}"


def _all_or_some(training: dict[str, Any]) -> str:
    some = _some(training)
    return f"all {some}" if some == str(training["images"]) else some


def _kept(training: dict[str, Any]) -> str:
    epochs = training["epochs"]
    if training["chosen_by"] == "members":
        return "each of its\nnetworks trained by itself"
    if training["chosen_by"] == "regression":
        return "its head is a\nlogistic regression on the features of those weights, which stay as they were"
    if training["chosen_by"] == "last epoch":
        return f"{epochs} epochs, the weights of the last one, chosen by no validation"
    return f"{epochs} epochs, the weights of epoch {training['best_epoch']}, which has the\nlowest validation loss"


def _evidence(manifest: Manifest) -> str:
    """What other models made the same way reached, where the manifest says so."""
    named = {
        NEW_PATIENTS: "by models of the same recipe that have not seen the patients",
        CROSS_VALIDATION: "by cross-validation over subjects, with models made the same way",
    }
    known = {how: manifest.metrics[key] for key, how in named.items() if key in manifest.metrics}
    text = ""
    if manifest.training["split"] == "none":
        what = (
            "What\nthe same method reaches on patients it has not seen was measured apart:"
            if known
            else "How\ngood the method is on new patients is not recorded here."
        )
        text = _TRAINED_ON_ALL.format(what=what)
    return text + "".join(f"\nNew patients, {how}:\n\n{_told(found)}\n" for how, found in known.items())


def _told(evidence: dict[str, Any]) -> str:
    lines = [str(evidence["text"]).strip(), ""] if "text" in evidence else []
    numbers = {name: value for name, value in evidence.items() if isinstance(value, int | float)}
    lines += [f"- {name.replace('_', ' ')}: {value:.4g}" for name, value in numbers.items()]
    return "\n".join(lines).strip()


def _figures(manifest: Manifest) -> str:
    rows = [
        _row(cells, kind, figures)
        for cells, kinds in manifest.metrics.items()
        if cells not in (CROSS_VALIDATION, NEW_PATIENTS, RESTS_ON)
        for kind, figures in kinds.items()
    ]
    if not rows:
        return ""
    head = [
        "| cells | model | n | accuracy | AUC | sensitivity | specificity | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _moved(manifest: Manifest) -> str:
    """How the threshold was moved, if it was."""
    shift = manifest.calibration.get("shift", 0.0)
    if not shift:
        return "The threshold is the network's own; "
    return f"The network's log-odds of {manifest.labels[0]} are moved by {shift:+g}, so that 0.5 lies where the classes meet; "


def _calibration(manifest: Manifest) -> str:
    """How sure is sure, and which cells it refers."""
    found = manifest.calibration
    if "cells" not in found:
        return f"## Confidence and referrals\n{found['why_not']}\n"
    patients = found["patients"]
    lines = [
        "## Confidence and referrals",
        _moved(manifest)
        + f"temperature {found['temperature']:g};\na cell whose likelier class has less than "
        f"{found['refer_below']:g} is referred. They were fitted on {found['n']} cells ({found['cells']}; patients: "
        f"{patients['ALL']} with ALL, {patients['HEM']}\nhealthy), each patient weighing the same (√n of its n cells where the classes meet), as evaluated by "
        f"{found['judged_by']}. " + reached(found),
    ]
    if not found["new_patients"]:
        lines.append(f"**{KNOWN_PATIENTS}**")
    if found.get("same_recipe") is False:
        lines.append("**Those models are of another recipe than this one.**")
    kinds = {"without a band": "without_band", "with it": "with_band"}
    if found["each_patient_by_the_others"]:
        kinds["each patient by a band from the others"] = "each_patient_by_the_others"
    lines += [
        "",
        "| | decided | sensitivity | specificity | of all ALL cells called HEM |",
        "|---|---|---|---|---|",
    ]
    for name, key in kinds.items():
        values = (found[key][part] for part in ("coverage", "sensitivity", "specificity", "missed"))
        shown = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def _rests_on(manifest: Manifest) -> str:
    found = manifest.metrics.get(RESTS_ON)
    return f"## What it rests on\n{found['text']}\n" if found else ""


def _localisation(manifest: Manifest) -> str:
    if not manifest.localisation:
        return ""
    found = manifest.localisation
    lines = [
        "## Where it looks",
        f"The share of the evidence for the verdict that is inside the cell, on {found['n']} cells ({found['cells']}):",
        "",
        "| called | cells | share inside | the cell's share of the picture | strongest position on the cell |",
        "|---|---|---|---|---|",
    ]
    for side, each in found["by_verdict"].items():
        shown = " | ".join(f"{each[key]:.0%}" for key in ("inside", "chance", "peak_inside"))
        lines.append(f"| {side} | {each['n']} | {shown} |")
    if any(each["inside"] < each["chance"] for each in found["by_verdict"].values()):
        lines += [
            "",
            "Where that is less than the cell's share, it judges by what surrounds the cell, such as its size.",
        ]
    return "\n".join(lines) + "\n"


def _row(cells: str, kind: str, figures: dict[str, Any]) -> str:
    values = (figures[key] for key in _ROW)
    shown = " | ".join("–" if value is None else f"{value:.3f}" for value in values)
    return f"| {cells} | {kind} | {figures['n']} | {shown} |"


def _parity(manifest: Manifest) -> str:
    parity = manifest.parity
    return (
        f"int8 and float agree on {parity['agreement']:.2%} of {parity['n']} cells ({parity['cells']}); int8\n"
        f"{change(parity['drop_points'])} points of accuracy there; the largest change of a probability is "
        f"{parity['largest_probability_change']:.3f}.\n"
    )
