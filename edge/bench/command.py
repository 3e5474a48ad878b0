"""`leukoscope bench`."""

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from edge.bench import DRAWN_SIDE_PX, drawn_images, parts
from edge.bench import bench as run_bench
from edge.bench.report import format_delivery, format_family, format_table, plot
from edge.errors import InputError
from edge.host.terminal import console
from edge.host.terminal.progress import progress
from edge.imaging.cores import use_cores
from edge.imaging.files import find_images, read_image
from edge.imaging.frame import Pixels
from edge.model.file import ModelFile, read_model
from edge.model.installed import find_model, installed_models

DELIVERY_SECONDS = 10.0
DELIVERY_PARTS = 2
MEMORY_SECONDS = 900.0
"""Without `--seconds`: how long delivery at full rate is measured, and the longest time that `--memory` takes."""


def bench(options: argparse.Namespace) -> int:
    """Time every model with every number of threads; with `--json`, one line each."""
    with _silent_cameras():
        return _bench(options)


@contextlib.contextmanager
def _silent_cameras() -> Iterator[None]:
    """That its own frames are taken tells nobody anything."""
    cameras = logging.getLogger("edge.cameras")
    before = cameras.level
    cameras.setLevel(logging.WARNING)
    try:
        yield
    finally:
        cameras.setLevel(before)


def _bench(options: argparse.Namespace) -> int:
    models, images = asked_models(options), asked_images(options)
    if options.memory:
        return _flat_memory(options, models[0], images if options.images or not options.field else [])
    if options.field:
        return _fields(options, models[0], images if options.images else [])
    if options.start:
        return _start(options, models[0], images)
    all_results = []
    pairs = [(model, threads) for model in models for threads in options.threads]
    try:
        # Without a thread that redraws: it would disturb what is measured.
        delivery = 0 if options.deliver is None else DELIVERY_PARTS
        total = len(pairs) * (parts(options.seconds) + delivery)
        with progress("bench", total, not options.json, by_itself=False) as (step, _):
            for model, threads in pairs:
                all_results.append(_one(options, model, images, threads, step))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(all_results)} of {len(pairs)} are measured") from None
    if options.plot:
        plot(all_results, options.plot)
    if not options.json:
        _show(format_table(all_results[0]) if len(all_results) == 1 else format_family(all_results))
        for results in all_results:
            if "delivery" in results:
                _show(format_delivery(results["delivery"]))
    return 0


def _show(table: str) -> None:
    """Print a table; the sentences around it fit the terminal."""
    for line in table.splitlines():
        is_row = "   " in line
        print("\n".join([line] if is_row else console.folded(line)), flush=True)


def _one(
    options: argparse.Namespace,
    model: ModelFile,
    images: list[Pixels],
    threads: int,
    step: Callable[[], None],
) -> dict[str, Any]:
    use_cores(threads)
    results = run_bench(model, images, options.runs, threads, options.seconds, step)
    if options.deliver is not None:
        from edge.bench.delivery import deliver

        seconds = options.seconds or DELIVERY_SECONDS
        results["delivery"] = deliver(model, images, options.runs, threads, options.deliver, seconds, step)
    if options.json:
        console.document(results)
    return results


def _fields(options: argparse.Namespace, model: ModelFile, images: list[Pixels]) -> int:
    from edge.bench.fields import bench_fields, format_table

    use_cores(options.threads[0])
    results = bench_fields(model, images, options.runs, options.threads[0])
    if options.json:
        for result in results:
            console.document(result)
    else:
        _show(format_table(results))
    return 0


def asked_models(options: argparse.Namespace) -> list[ModelFile]:
    """The models that the options name; by default the installed one.

    Raises:
        InputError: options exclude each other, or a model cannot be read.
    """
    if options.family and options.model:
        raise InputError("--family and --model: give one of them")
    files = installed_models() if options.family else [find_model(name) for name in options.model or [None]]
    return [read_model(file) for file in files]


def asked_images(options: argparse.Namespace) -> list[Pixels]:
    """The images that the options name; by default simulated cells.

    Raises:
        InputError: options exclude each other, or there are no images.
        ImageError: one cannot be read.
    """
    if options.images and options.frame:
        raise InputError("--images and --frame: give one of them")
    if options.images:
        return [read_image(path) for path in find_images([options.images])[: options.limit]]
    width, height = options.frame or (DRAWN_SIDE_PX, DRAWN_SIDE_PX)
    return drawn_images(width, height, options.seed)


def _flat_memory(options: argparse.Namespace, model: ModelFile, images: list[Pixels]) -> int:
    from edge.bench.memory import SAMPLES, flat_memory, format_table

    use_cores(options.threads[0])
    with progress("memory", min(SAMPLES, options.memory), not options.json, by_itself=False) as (step, _):
        seconds = options.seconds or MEMORY_SECONDS
        memory = flat_memory(
            model, images, options.memory, options.deliver or "", seconds, step, options.field
        )
    console.figures(options.json, memory, lambda: format_table(memory))
    return 0 if memory["flat"] else 1


def _start(options: argparse.Namespace, model: ModelFile, images: list[Pixels]) -> int:
    from edge.bench import start

    with progress("starts, then idle", start.parts(), not options.json, by_itself=False) as (step, _):
        results = start.start_and_idle(model, images, step=step)
    console.figures(options.json, results, lambda: start.format_table(results))
    return 0
