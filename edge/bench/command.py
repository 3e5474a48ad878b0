"""`leukoscope bench`."""

import argparse
import importlib
from typing import Any

import msgspec

from edge.bench import DRAWN_SIDE_PX, drawn_images, family
from edge.bench import bench as run_bench
from edge.bench.report import format_delivery, format_family, format_table, plot
from edge.errors import InputError, LeukoscopeError
from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.model.classifier import default_model
from edge.model.file import ModelFile, read_model

DELIVERY_SECONDS = 10.0
MEMORY_SECONDS = 900.0
"""Where `--seconds` does not say: how long delivery at full rate is measured, and the most that `--memory` takes."""


def bench(options: argparse.Namespace) -> int:
    """Time every model with every number of threads; with `--json`, one line each."""
    models = [read_model(file) for file in _files(options)]
    images = _images(options)
    if options.engines:
        return _compare_engines(options, models, images)
    if options.memory:
        return _flat_memory(options, models[0], images)
    if options.start:
        return _start(options, models[0], images)
    all_results = []
    for model in models:
        for threads in options.threads:
            all_results.append(_one(options, model, images, threads))
    if options.plot:
        plot(all_results, options.plot)
    if not options.json:
        print(format_table(all_results[0]) if len(all_results) == 1 else format_family(all_results))
        for results in all_results:
            if "delivery" in results:
                print(format_delivery(results["delivery"]))
    return 0


def _one(options: argparse.Namespace, model: ModelFile, images: list[Pixels], threads: int) -> dict[str, Any]:
    results = run_bench(model, images, options.runs, threads, options.seconds)
    if options.deliver is not None:
        from edge.bench.delivery import deliver

        seconds = options.seconds or DELIVERY_SECONDS
        results["delivery"] = deliver(model, images, options.runs, threads, options.deliver, seconds)
    if options.json:
        print(msgspec.json.encode(results).decode(), flush=True)
    return results


def _files(options: argparse.Namespace) -> list[Any]:
    if options.family and options.model:
        raise InputError("--family and --model: give one of them")
    return family(default_model()) if options.family else options.model or [default_model()]


def _images(options: argparse.Namespace) -> list[Pixels]:
    if options.images and options.frame:
        raise InputError("--images and --frame: give one of them")
    if options.frame:
        return drawn_images(*options.frame)
    if options.images:
        return [read_image(path) for path in find_images([options.images])]
    return drawn_images(DRAWN_SIDE_PX, DRAWN_SIDE_PX)


def _flat_memory(options: argparse.Namespace, model: ModelFile, images: list[Pixels]) -> int:
    from edge.bench.memory import flat_memory, format_table

    memory = flat_memory(
        model, images, options.memory, options.deliver or "", options.seconds or MEMORY_SECONDS
    )
    print(msgspec.json.encode(memory).decode() if options.json else format_table(memory), flush=True)
    return 0 if memory["flat"] else 1


def _start(options: argparse.Namespace, model: ModelFile, images: list[Pixels]) -> int:
    from edge.bench.start import format_table, start_and_idle

    results = start_and_idle(model, images)
    print(msgspec.json.encode(results).decode() if options.json else format_table(results), flush=True)
    return 0


def _compare_engines(options: argparse.Namespace, models: list[ModelFile], images: list[Pixels]) -> int:
    try:
        engines = importlib.import_module("export.engines")  # of the host side, which writes the ONNX
    except ModuleNotFoundError as error:
        raise LeukoscopeError(
            f"--engines: {error.name} is not installed; run it from a full install: pip install 'leukoscope[bench]'"
        ) from error
    for model in models:
        for threads in options.threads:
            results = engines.compare(model, images, options.runs, threads)
            line = msgspec.json.encode(results).decode() if options.json else engines.format_table(results)
            print(line, flush=True)
    return 0
