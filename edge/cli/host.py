"""The commands of the host, with their help; their functions are in train/ and export/, named as text."""

import argparse
from pathlib import Path

from edge.cli.arguments import Add, actions_of, count, json_option, out_file, points, share, whole

NOISE_LEVELS = "0,2,5,8,10"
"""The paper's."""


def add_commands(add: Add) -> None:
    """dataset, train, evaluate, compare, ensemble and export."""
    _dataset(add)
    _train(add)
    _evaluate(add)
    _compare(add)
    _ensemble(add)
    _export(add)


def _train(add: Add) -> None:
    example = "train --data C-NMC --fold 1 --split image --recipe paper --out run"
    p = add("train", "train.commands:train", "Train MobileNet_M or one of its rivals", example)
    _data_option(p)
    p.add_argument(
        "--task",
        choices=("classes", "cells", "kind"),
        default="classes",
        help="cells: finds white cells in whole fields; kind: tells lymphoid cells from others",
    )
    p.add_argument(
        "--fold", choices=("0", "1", "2", "all"), help="of C-NMC; all: with --split none, train on every cell"
    )
    p.add_argument(
        "--split",
        choices=("image", "subject", "none"),
        help="image: as the paper; subject: no patient on two sides; none: train on every cell",
    )
    p.add_argument("--split-file", type=Path, metavar="FILE", help="instead: from dataset split --out")
    p.add_argument("--recipe", metavar="NAME|FILE", help="default: paper")
    _recipe_options(p)
    p.add_argument("--out", type=Path, required=True, metavar="RUN", help="a new folder for the run")
    p.add_argument("--resume", action="store_true", help="continue from the last checkpoint in RUN")
    p.add_argument("--epochs", type=count, metavar="N", help="instead of the recipe's")
    json_option(p)


def _evaluate(add: Add) -> None:
    p = add(
        "evaluate", "train.commands:evaluate", "Metrics of a run or a model file", "evaluate run --data C-NMC"
    )
    p.add_argument(
        "subject", metavar="RUN|MODEL.tflite|RECIPE", help="what to judge; RECIPE with --cross-validate"
    )
    _data_option(p)
    p.add_argument(
        "--cross-validate",
        type=count,
        metavar="K",
        help="train the RECIPE K times, each time evaluating on patients that were left out; needs --out, and "
        "continues there if it was stopped",
    )
    _recipe_options(p)
    p.add_argument(
        "--split-file", type=Path, metavar="FILE", help="default: the run's; its test list is used"
    )
    p.add_argument("--all", action="store_true", help="evaluate every cell in DIR instead")
    p.add_argument(
        "--camera",
        action="store_true",
        help="also under other light, white balance, focus, size, noise and compression; on new patients if possible",
    )
    _noise_option(p)
    p.add_argument(
        "--noise-on",
        choices=("network", "camera"),
        default="network",
        help="which pixels get the noise: those of the network's input, or the camera's, which making the crop small "
        "averages (default: %(default)s)",
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="write report.html, figures, predictions, plots")
    json_option(p, "one object per noise level; with --camera each has the suite")


def _compare(add: Add) -> None:
    text = "Runs side by side on the same test cells"
    p = add(
        "compare",
        "export.compare:compare",
        text,
        "compare ours alnett alexnet --data C-NMC --out side-by-side",
    )
    p.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="the others are compared with the first")
    _data_option(p)
    _noise_option(p)
    p.add_argument("--limit", type=count, metavar="N", help="judge at most N cells of each set (quick trial)")
    p.add_argument("--out", type=Path, metavar="DIR", help="write compare.html, compare.json and plots")
    json_option(p, "one document instead of tables")


def _ensemble(add: Add) -> None:
    text = "Combine trained runs into one ensemble model"
    p = add("ensemble", "train.commands:ensemble", text, "ensemble student finetuned --out both")
    p.add_argument(
        "members",
        type=Path,
        nargs="+",
        metavar="RUN|DIR",
        help="runs of the same network, crop and split; or the --out folders of evaluate, such as "
        "cross-validations",
    )
    p.add_argument(
        "--out", type=Path, required=True, metavar="RUN|DIR", help="a new folder for what they are together"
    )
    p.add_argument(
        "--data", type=Path, nargs="+", metavar="DIR", help="needed to join --out folders of evaluate"
    )
    _positive_option(p)
    json_option(p)


def _export(add: Add) -> None:
    p = add(
        "export",
        "export.commands:export",
        "Convert a run to an int8 model file",
        "export run --out model.tflite",
    )
    p.add_argument("run", type=Path, metavar="RUN", help="of `leukoscope train`")
    p.add_argument(
        "--out", type=Path, required=True, metavar="MODEL.tflite", help="the model file that the box runs"
    )
    p.add_argument("--data", type=Path, nargs="+", metavar="DIR", help="default: what the run trained on")
    p.add_argument(
        "--representative",
        type=count,
        default=256,
        metavar="N",
        help="calibration images (default: %(default)s)",
    )
    p.add_argument(
        "--max-drop",
        type=points,
        default=0.5,
        metavar="POINTS",
        help="accuracy that int8 may lose, percentage points (default: %(default)s)",
    )
    p.add_argument(
        "--evidence",
        type=Path,
        action="append",
        default=[],
        metavar="DIR|FILE.json",
        help="what evaluate wrote with --out, for the manifest and the card; a cross-validation also gives "
        "temperature and refer_below; may be given several times",
    )
    p.add_argument(
        "--refer-sensitivity",
        type=share,
        default=0.95,
        metavar="SHARE",
        help="choose the smallest refer_below that reaches it (default: %(default)s)",
    )
    p.add_argument("--report", type=Path, metavar="DIR", help="default: MODEL.report beside the file")
    p.add_argument(
        "--no-map", action="store_true", help="without the activation map: classify --explain will not work"
    )
    p.add_argument("--plain", action="store_true", help="TFLite's own conversion, to compare with")
    p.add_argument("--limit", type=count, metavar="N", help="judge at most N cells of each set (quick trial)")
    json_option(p)


def _noise_option(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--noise",
        default=NOISE_LEVELS,
        metavar="0,2,5",
        help="sigma of test noise, 8-bit levels (default: %(default)s)",
    )


def _data_set_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("directory", type=Path, metavar="DIR|CSV", help="the data, as `train --data` takes them")
    _positive_option(p)


def _dataset(add: Add) -> None:
    text, example = "Verify or split a data set", "dataset verify C-NMC"
    add_action = actions_of(add, "dataset", text, example, "train.commands:dataset_{}", _data_set_options)

    text = "Report missing, altered and duplicate images; exit status 1 if there is any problem"
    p = add_action("verify", text, "verify C-NMC")
    p.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="path, part, name, sha256 and bytes of the official images (default: DIR/manifest.csv)",
    )
    json_option(p, "print one JSON document, with every missing image")

    p = add_action(
        "split", "Split images into training, validation and test sets", "split DIR --fold 1 --method image"
    )
    p.add_argument("--fold", type=int, choices=(0, 1, 2), help="of C-NMC; other data are split as a whole")
    p.add_argument(
        "--method",
        choices=("image", "subject"),
        required=True,
        help="image: as the paper; subject: no patient on two sides",
    )
    p.add_argument("--seed", type=whole, default=0, metavar="N", help="of the split (default: %(default)s)")
    p.add_argument("--out", type=out_file, metavar="FILE", help="write the lists there")
    json_option(p)


def _data_option(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="C-NMC, folders named all and hem, folders named by class, or a CSV (path, patient, class)",
    )
    _positive_option(p)


def _positive_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--positive", metavar="NAME", help="the positive class, if it is not named ALL")


def _recipe_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--network",
        metavar="NAME",
        help="mobilenet_m (default) or a rival: alnett, alexnet, vgg16, googlenet, resnet50, mma_mtl, yolov4, yolov4_tiny",
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe: --set fit.batch=32",
    )
    p.add_argument(
        "--weights",
        metavar="FILE|imagenet|none",
        help="to start from (default: imagenet, none for networks without)",
    )
    p.add_argument("--limit", type=count, metavar="N", help="use at most N images per split (quick trial)")
    p.add_argument("--seed", type=whole, default=0, metavar="N", help="of the split (default: %(default)s)")
    p.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="use this run as the teacher (distillation, a recipe with distil.variants or distil.live); "
        "with --cross-validate, the folder of a cross-validation with the same folds",
    )
