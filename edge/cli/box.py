"""Options of the commands of the box."""

import argparse
from pathlib import Path

from edge.cli import laboratory
from edge.cli.arguments import (
    Add,
    actions_of,
    config_option,
    count,
    json_option,
    model_option,
    out_file,
    positive,
    size,
    threads,
    whole,
)

SHELLS = ("bash", "zsh", "tcsh")


def add_commands(add: Add) -> None:
    """demo, run, check, doctor, calibrate, classify, bench, model and completion."""
    _demo(add)
    _run(add)
    _check(add)
    _doctor(add)
    _calibrate(add)
    _classify(add)
    _bench(add)
    _model(add)
    p = add("completion", "edge.cli.completion:command", "Print a shell completion script", "completion bash")
    p.add_argument("shell", choices=SHELLS, help='eval "$(leukoscope completion bash)" in ~/.bashrc')


def _demo(add: Add) -> None:
    text = "Show the whole system at work: a broker, the daemon, a subscriber and the page in one"
    p = add("demo", "edge.demo.command:command", text, "demo --seconds 20")
    p.add_argument("--seconds", type=positive, metavar="N", help="end after N seconds (default: at Ctrl-C)")
    p.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="classify each image in DIR once, then end (default: the samples of a source checkout, else "
        "simulated cells)",
    )
    p.add_argument(
        "--field", action="store_true", help="images are whole fields: find and judge every white cell"
    )
    p.add_argument("--simulate", action="store_true", help="simulated cells, even if there are samples")
    p.add_argument("--seed", type=whole, default=0, metavar="N", help="of the simulated cells (default: 0)")
    p.add_argument("--no-web", action="store_true", help="without the technician's page")
    p.add_argument(
        "--broker", metavar="HOST:PORT", help="use this broker; started there if none listens on loopback"
    )
    model_option(p)
    p.add_argument("--to", default="sqlite:///demo-results.db", metavar="TARGET", help="default: %(default)s")
    json_option(p, "records as JSON lines, then a summary")


def _run(add: Add) -> None:
    p = add("run", "edge.cli.run:run", "Run the daemon in the foreground", "run --config leukoscope.toml")
    config_option(p)
    p.add_argument(
        "--metrics", default="", metavar="HOST:PORT", help="serve metrics for Prometheus at /metrics there"
    )
    p.add_argument(
        "--again",
        action="store_true",
        help="of a folder, also classify images that an earlier run has classified",
    )


def _check(add: Add) -> None:
    text = "Check the settings file and the files that it names"
    p = add("check", "edge.cli.run:check", text, "check --config leukoscope.toml")
    config_option(p)
    json_option(p)


def _doctor(add: Add) -> None:
    text = "Test camera, model, broker, clock and disk, and say how to fix problems"
    p = add("doctor", "edge.doctor.command:command", text, "doctor --config leukoscope.toml")
    config_option(p)
    json_option(p)
    p.add_argument(
        "--bundle", type=out_file, metavar="FILE", help="pack what support needs into FILE, without secrets"
    )


def _calibrate(add: Add) -> None:
    text = "Measure an empty field: even light and white balance"
    p = add("calibrate", "edge.cli.calibrate:command", text, "calibrate --config leukoscope.toml")
    config_option(p)
    p.add_argument(
        "--picture",
        type=out_file,
        metavar="FILE.png",
        help="write one frame, before and after the correction",
    )
    json_option(p)


def _classify(add: Add) -> None:
    text = "Classify image files or folders"
    p = add("classify", "edge.classify.command:command", text, "classify cells/ --html sheet.html")
    p.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="image files, or folders of them")
    model_option(p)
    p.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="use model, crop, calibration and limits of this settings file, as the daemon would",
    )
    p.add_argument(
        "--field", action="store_true", help="images are whole fields: find and judge every white cell"
    )
    p.add_argument("--limit", type=count, metavar="N", help="the first N images only")
    json_option(p, "print one JSON line per image")
    p.add_argument("--csv", type=out_file, metavar="FILE", help="write a table for a spreadsheet")
    p.add_argument(
        "--html", type=out_file, metavar="FILE", help="write a contact sheet: one page to mail or print"
    )
    p.add_argument("--explain", type=Path, metavar="DIR", help="write one heat map per image into DIR")


def _bench(add: Add) -> None:
    text = "Measure the latency per image, beside the bare interpreter"
    p = add("bench", "edge.bench.command:bench", text, "bench --family --runs 200")
    p.add_argument(
        "--model",
        nargs="+",
        metavar="NAME|FILE",
        help="names of `leukoscope model list`, or files (default: the installed one)",
    )
    p.add_argument("--family", action="store_true", help="every installed model, in one table")
    p.add_argument("--images", type=Path, metavar="DIR", help="default: simulated cells, 450x450")
    p.add_argument("--limit", type=count, metavar="N", help="the first N images of DIR only")
    p.add_argument("--frame", type=size, metavar="WIDTHxHEIGHT", help="simulated frames of another size")
    p.add_argument("--seed", type=whole, default=0, metavar="N", help="of the simulated cells (default: 0)")
    p.add_argument("--runs", type=count, default=200, metavar="N", help="default: %(default)s")
    p.add_argument(
        "--seconds", type=positive, metavar="N", help="then continue for N seconds: does it stay as fast?"
    )
    p.add_argument(
        "--threads",
        type=threads,
        default=[1],
        metavar="N[,N…]",
        help="of the interpreter; several to compare (default: 1)",
    )
    p.add_argument(
        "--deliver",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="also measure from the frame to the broker's acknowledgement (default: a broker of its own)",
    )
    p.add_argument(
        "--engines",
        action="store_const",
        dest="command",
        const="export.rivals.engines:command",
        help="run the same network on LiteRT, ONNX Runtime and OpenVINO: pip install 'leukoscope[bench]'",
    )
    p.add_argument(
        "--rivals",
        action="store_const",
        dest="command",
        const="export.rivals.rivals:command",
        help="from a frame to the broker's acknowledgement beside plain scripts that one would write instead",
    )
    _bench_instead(p)
    p.add_argument("--plot", type=out_file, metavar="FILE.png", help="draw the stages; needs matplotlib")
    json_option(p, "print one JSON line per model and number of threads")


def _bench_instead(p: argparse.ArgumentParser) -> None:
    """Other measurements, in place of the latency per image."""
    p.add_argument(
        "--memory",
        type=count,
        metavar="RESULTS",
        help="instead: does memory stay flat over this many simulated results to a broker? Exit status 1 if not; "
        "--seconds bounds it (default: 900); with --field, of whole fields",
    )
    p.add_argument(
        "--field",
        action="store_true",
        help="instead: whole fields, stage by stage: finding, cutting, kind and classes",
    )
    p.add_argument(
        "--start",
        action="store_true",
        help="instead: time from the start of the daemon to its first result, its memory and idle CPU",
    )


def _model(add: Add) -> None:
    text = "List, show, verify, sign and install model files"
    add_action = actions_of(add, "model", text, "model list", "edge.cli.model:{}_command", json_option)
    add_action("list", "List the installed models", "list")
    for name, text in (
        ("show", "Show the model card and the main facts of a model file"),
        ("verify", "Load a model file and compare the network with its manifest"),
    ):
        p = add_action(name, text, f"{name} mobilenet_m_0_25_128")
        p.add_argument("file", nargs="?", metavar="NAME|FILE", help="default: the installed one")
        if name == "show":
            p.add_argument("--manifest", action="store_true", help="the whole manifest, in place of the card")
        else:
            p.add_argument(
                "--keys",
                type=Path,
                metavar="FILE",
                help="trusted public keys; 1 if none of them has signed it",
            )
    laboratory.add_model_actions(add_action)
