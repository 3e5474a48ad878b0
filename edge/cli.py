"""Commands and their help; no logic."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edge import journal
from edge.errors import InputError, LeukoscopeError

NOTICE = "Research and second opinion only: not a diagnosis."

# Modules outside edge are named by text and loaded when called: the box does not have them.
_HOST_PACKAGES = ("train", "export", "tensorflow", "keras", "sklearn", "matplotlib", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 done, 1 failed, 2 wrong usage, settings or input."""
    journal.set_up()
    # Decoders and TensorFlow report on standard error what the commands say in their own words.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = parser().parse_args(arguments)
    if options.command.startswith("edge."):  # nothing here multiplies matrices in numpy
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        module, _, function = options.command.partition(":")
        status: int = getattr(_load(module), function)(options)
    except LeukoscopeError as error:
        print(f"leukoscope: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # the reader of a pipe went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _load(module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _HOST_PACKAGES:
            raise LeukoscopeError(
                f"{error.name} is not installed: pip install 'leukoscope[train]'"
            ) from error
        raise


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = argparse.ArgumentParser(
        prog="leukoscope",
        description=f"A second pair of eyes for acute lymphoblastic leukemia. {NOTICE}",
        epilog="example: leukoscope demo --seconds 20",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: str, text: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=text, description=f"{text}. {NOTICE}", epilog=f"example: leukoscope {example}"
        )
        added.set_defaults(command=command)
        return added

    p = add("demo", "edge.demo:command", "A broker, the daemon and a subscriber in one", "demo --seconds 20")
    p.add_argument("--seconds", type=_positive, metavar="N", help="end after so long (default: at Ctrl-C)")
    p.add_argument("--images", type=Path, metavar="DIR", help="classify each image there once, then end")
    p.add_argument(
        "--broker", metavar="HOST:PORT", help="use this broker; started there if none listens on loopback"
    )
    _model_option(p)
    p.add_argument("--to", default="sqlite:///demo-results.db", metavar="TARGET", help="default: %(default)s")
    p.add_argument("--json", action="store_true", help="records as JSON lines, then a summary")

    _service_commands(add)

    p = add("classify", "edge.commands:classify", "Classify image files or folders", "classify cells/ --json")
    p.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    _model_option(p)
    p.add_argument("--json", action="store_true", help="one JSON line an image")
    p.add_argument(
        "--explain", type=Path, metavar="DIR", help="write a picture an image: where its verdict comes from"
    )

    _bench_command(add)

    p = add(
        "log", "edge.logger.command:command", "Store results from a broker", "log --broker mqtt://localhost"
    )
    p.add_argument("--broker", required=True, metavar="mqtt://…")
    p.add_argument("--to", default="sqlite:///results.db", metavar="TARGET", help="default: %(default)s")
    p.add_argument("--group", metavar="NAME", help="share the stream with the loggers of this name")
    p.add_argument("--topic", default="leukoscope/+/cells", metavar="FILTER", help="default: %(default)s")
    p.add_argument(
        "--password-file", type=Path, metavar="FILE", help="default: the address, or LEUKOSCOPE_MQTT_PASSWORD"
    )
    p.add_argument("--ca-file", type=Path, metavar="FILE", help="the authority that the broker's must be of")
    p.add_argument("--cert-file", type=Path, metavar="FILE", help="this logger's own certificate")
    p.add_argument("--key-file", type=Path, metavar="FILE")

    p = add(
        "results",
        "edge.logger.results:command",
        "Totals or rows of a logger's database",
        "results --by specimen",
    )
    p.add_argument("database", nargs="?", default="sqlite:///results.db", help="default: %(default)s")
    p.add_argument("--by", choices=("specimen", "device"), default="specimen")
    p.add_argument("--device", metavar="ID", help="only of this device")
    p.add_argument("--specimen", metavar="NAME", help="only of this specimen")
    p.add_argument("--last", metavar="1h", help="captured in the last 90s, 15m, 1h or 7d")
    p.add_argument("--csv", metavar="FILE", help="write the rows themselves there; - for standard output")
    p.add_argument("--json", action="store_true", help="one line a total")

    p = add("model", "edge.commands:model", "Show or verify a model file", "model show FILE")
    p.add_argument("action", choices=("show", "verify"))
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--json", action="store_true")

    _host_commands(add)
    return top


def _bench_command(add) -> None:  # type: ignore[no-untyped-def]
    text = "Per-image latency, beside the bare interpreter"
    p = add("bench", "edge.bench.command:bench", text, "bench --family --runs 200")
    p.add_argument("--model", type=Path, nargs="+", metavar="FILE", help="default: the installed one")
    p.add_argument("--family", action="store_true", help="every model beside the installed one, in one table")
    p.add_argument("--images", type=Path, metavar="DIR", help="default: simulated cells, 450x450")
    p.add_argument("--frame", type=_size, metavar="WIDTHxHEIGHT", help="simulated frames of another size")
    p.add_argument("--runs", type=_count, default=200, metavar="N")
    p.add_argument("--seconds", type=_positive, metavar="N", help="run on for so long: does it stay as fast?")
    p.add_argument(
        "--threads",
        type=_counts,
        default=[1],
        metavar="N[,N…]",
        help="of the interpreter; several to compare",
    )
    p.add_argument(
        "--deliver",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="also from the frame to the broker's acknowledgement; default: a Mosquitto of its own",
    )
    p.add_argument(
        "--engines",
        action="store_true",
        help="the same network on LiteRT, ONNX Runtime and OpenVINO: pip install 'leukoscope[bench]'",
    )
    p.add_argument(
        "--memory",
        type=_count,
        metavar="RESULTS",
        help="instead: does memory stay flat over so many simulated results to a broker? 1 where it does not; "
        "--seconds bounds it (default: 900)",
    )
    p.add_argument(
        "--start",
        action="store_true",
        help="instead: from the start of the daemon's process to its first result, its memory, idle CPU",
    )
    p.add_argument("--plot", type=Path, metavar="FILE.png", help="needs matplotlib")
    p.add_argument("--json", action="store_true", help="one JSON line a model")


def _service_commands(add) -> None:  # type: ignore[no-untyped-def]
    for name, text in (("run", "The daemon in the foreground"), ("check", "Is the settings file valid?")):
        p = add(name, f"edge.commands:{name}", text, f"{name} --config leukoscope.toml")
        p.add_argument("--config", type=Path, required=True, metavar="FILE")
        if name == "run":
            p.add_argument(
                "--metrics", default="", metavar="HOST:PORT", help="answer Prometheus at /metrics there"
            )

    p = add(
        "doctor",
        "edge.doctor:command",
        "Tries everything that a support call would ask",
        "doctor --config leukoscope.toml",
    )
    p.add_argument("--config", type=Path, required=True, metavar="FILE")
    p.add_argument("--json", action="store_true")
    p.add_argument("--bundle", type=Path, metavar="FILE", help="pack what support needs, without secrets")

    text = "Measure an empty field: even light and white balance"
    p = add("calibrate", "edge.calibrate:command", text, "calibrate --config leukoscope.toml")
    p.add_argument("--config", type=Path, required=True, metavar="FILE")
    p.add_argument("--json", action="store_true")


def _host_commands(add) -> None:  # type: ignore[no-untyped-def]
    _dataset_commands(add)

    example = "train --data C-NMC --fold 1 --split image --recipe paper --out run"
    p = add("train", "train.commands:train", "Train MobileNet_M", example)
    p.add_argument("--data", type=Path, required=True, metavar="DIR")
    p.add_argument(
        "--fold", choices=("0", "1", "2", "all"), help="all: with --split none, for a model that ships"
    )
    p.add_argument("--split", choices=("image", "subject", "none"), help="none: every cell trains")
    p.add_argument("--split-file", type=Path, metavar="FILE", help="instead: from dataset split --out")
    p.add_argument("--recipe", default="paper", metavar="NAME|FILE")
    _recipe_options(p)
    p.add_argument("--out", type=Path, required=True, metavar="RUN")
    p.add_argument("--resume", action="store_true", help="go on from the last checkpoint in RUN")
    p.add_argument("--epochs", type=_count, metavar="N", help="instead of the recipe's")

    p = add(
        "evaluate", "train.commands:evaluate", "Metrics of a run or a model file", "evaluate run --data C-NMC"
    )
    p.add_argument("subject", metavar="RUN|MODEL.tflite|RECIPE")
    p.add_argument("--data", type=Path, required=True, metavar="DIR")
    p.add_argument(
        "--cross-validate",
        type=_count,
        metavar="K",
        help="train the RECIPE K times, each time judging patients that were left out; needs --out, and goes "
        "on from there where it was stopped",
    )
    _recipe_options(p)
    p.add_argument(
        "--split-file", type=Path, metavar="FILE", help="default: the run's; its test side is used"
    )
    p.add_argument(
        "--noise",
        default="0,2,5,8,10",
        metavar="0,2,5",
        help="sigma of test noise, 8-bit levels (default: %(default)s)",
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="write report.html, figures, predictions, plots")
    p.add_argument("--json", action="store_true", help="one object for each noise level")

    p = add(
        "export", "export.commands:export", "A run to one int8 model file", "export run --out model.tflite"
    )
    p.add_argument("run", type=Path, metavar="RUN")
    p.add_argument("--out", type=Path, required=True, metavar="MODEL.tflite")
    p.add_argument("--data", type=Path, metavar="DIR", help="default: where the run was trained")
    p.add_argument("--representative", type=_count, default=256, metavar="N", help="calibration images")
    p.add_argument(
        "--max-drop", type=float, default=0.5, metavar="POINTS", help="accuracy that int8 may lose"
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
        type=float,
        default=0.95,
        metavar="SHARE",
        help="the smallest refer_below that reaches it is chosen (default: %(default)s)",
    )
    p.add_argument("--report", type=Path, metavar="DIR", help="default: MODEL.report beside the file")
    p.add_argument("--no-map", action="store_true", help="leave the activation map out: no --explain")
    p.add_argument("--plain", action="store_true", help="TFLite's own conversion, to compare with")


def _dataset_commands(add) -> None:  # type: ignore[no-untyped-def]
    text, example = "Verify or split a data set", "dataset verify C-NMC"
    actions = add("dataset", "", text, example).add_subparsers(
        title="actions", required=True, metavar="ACTION"
    )

    def add_action(name: str, text: str, example: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=f"{text}. {NOTICE}", epilog=f"example: leukoscope dataset {example}"
        )
        added.set_defaults(command=f"train.commands:dataset_{name}")
        added.add_argument("directory", type=Path, metavar="DIR")
        return added

    text = "What is there, missing, altered or duplicated; 1 where anything is not as it should be"
    p = add_action("verify", text, "verify C-NMC")
    p.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="path, part, name, sha256 and bytes of the official images (default: DIR/manifest.csv)",
    )
    p.add_argument("--json", action="store_true", help="all of it, with every missing image")

    p = add_action("split", "Lists of images to train, choose and judge", "split DIR --fold 1 --method image")
    p.add_argument("--fold", type=int, choices=(0, 1, 2), required=True)
    p.add_argument("--method", choices=("image", "subject"), required=True)
    p.add_argument("--seed", type=int, default=0, metavar="N")
    p.add_argument("--out", type=Path, metavar="FILE", help="write the lists there")
    p.add_argument("--json", action="store_true")


def _recipe_options(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the recipe: --set fit.batch=32",
    )
    p.add_argument("--weights", default="imagenet", metavar="FILE|imagenet|none")
    p.add_argument("--limit", type=_count, metavar="N", help="at most so many images a side, for a try")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="of the split")
    p.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="learn what this run's model says in place of the labels (recipe distilled); "
        "with --cross-validate, the folder of another over the same folds",
    )


def _model_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--model", type=Path, metavar="FILE", help="default: the installed one")


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    return _count(width), _count(height)


def host_and_port(text: str) -> tuple[str, int]:
    """HOST:PORT as its two parts.

    Raises:
        InputError: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InputError(f"--broker {text}: not of the form HOST:PORT, such as 127.0.0.1:1883")
    return host, int(port)
