"""Commands and their help; no logic."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.cli import host as host_commands
from edge.cli.arguments import Add, count, counts, positive, size
from edge.errors import LeukoscopeError
from edge.host import journal, noise
from edge.notice import NOTICE

# Modules outside edge are named by text and loaded when called: the box does not have them.
_HOST_PACKAGES = ("train", "export", "tensorflow", "keras", "sklearn", "matplotlib", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 done, 1 failed, 2 wrong usage, settings or input."""
    journal.set_up()
    noise.quiet()
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
        description=f"A second pair of eyes for acute lymphoblastic leukemia. {NOTICE.capitalize()}.",
        epilog="example: leukoscope demo --seconds 20",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: str, text: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text,
            description=f"{text}. {NOTICE.capitalize()}.",
            epilog=f"example: leukoscope {example}",
        )
        added.set_defaults(command=command)
        return added

    p = add(
        "demo",
        "edge.demo.command:command",
        "A broker, the daemon and a subscriber in one",
        "demo --seconds 20",
    )
    p.add_argument("--seconds", type=positive, metavar="N", help="end after so long (default: at Ctrl-C)")
    p.add_argument("--images", type=Path, metavar="DIR", help="classify each image there once, then end")
    p.add_argument(
        "--broker", metavar="HOST:PORT", help="use this broker; started there if none listens on loopback"
    )
    _model_option(p)
    p.add_argument("--to", default="sqlite:///demo-results.db", metavar="TARGET", help="default: %(default)s")
    p.add_argument("--json", action="store_true", help="records as JSON lines, then a summary")

    _service_commands(add)

    p = add(
        "classify", "edge.cli.commands:classify", "Classify image files or folders", "classify cells/ --json"
    )
    p.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    _model_option(p)
    p.add_argument("--json", action="store_true", help="one JSON line an image")
    p.add_argument("--explain", type=Path, metavar="DIR", help="write one heat map per image")

    _bench_command(add)

    _result_commands(add)

    p = add("model", "edge.cli.commands:model", "Show or verify a model file", "model show FILE")
    p.add_argument("action", choices=("show", "verify"))
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--json", action="store_true")

    host_commands.add_commands(add)
    return top


def _result_commands(add: Add) -> None:
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


def _bench_command(add: Add) -> None:
    text = "Per-image latency, beside the bare interpreter"
    p = add("bench", "edge.bench.command:bench", text, "bench --family --runs 200")
    p.add_argument("--model", type=Path, nargs="+", metavar="FILE", help="default: the installed one")
    p.add_argument("--family", action="store_true", help="every model beside the installed one, in one table")
    p.add_argument("--images", type=Path, metavar="DIR", help="default: simulated cells, 450x450")
    p.add_argument("--frame", type=size, metavar="WIDTHxHEIGHT", help="simulated frames of another size")
    p.add_argument("--runs", type=count, default=200, metavar="N")
    p.add_argument("--seconds", type=positive, metavar="N", help="run on for so long: does it stay as fast?")
    p.add_argument(
        "--threads",
        type=counts,
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
        type=count,
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


def _service_commands(add: Add) -> None:
    for name, text in (("run", "The daemon in the foreground"), ("check", "Is the settings file valid?")):
        p = add(name, f"edge.cli.commands:{name}", text, f"{name} --config leukoscope.toml")
        p.add_argument("--config", type=Path, required=True, metavar="FILE")
        if name == "run":
            p.add_argument(
                "--metrics", default="", metavar="HOST:PORT", help="answer Prometheus at /metrics there"
            )
            p.add_argument(
                "--again",
                action="store_true",
                help="of a folder, classify images too that an earlier run has classified",
            )

    p = add(
        "doctor",
        "edge.doctor.command:command",
        "Tries everything that a support call would ask",
        "doctor --config leukoscope.toml",
    )
    p.add_argument("--config", type=Path, required=True, metavar="FILE")
    p.add_argument("--json", action="store_true")
    p.add_argument("--bundle", type=Path, metavar="FILE", help="pack what support needs, without secrets")

    text = "Measure an empty field: even light and white balance"
    p = add("calibrate", "edge.cli.calibrate:command", text, "calibrate --config leukoscope.toml")
    p.add_argument("--config", type=Path, required=True, metavar="FILE")
    p.add_argument("--json", action="store_true")


def _model_option(p: argparse.ArgumentParser) -> None:
    p.add_argument("--model", type=Path, metavar="FILE", help="default: the installed one")
