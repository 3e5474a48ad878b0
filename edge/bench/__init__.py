"""Latency per image, stage by stage, beside the bare interpreter."""

import gc
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edge.bench.machine import conditions, machine, peak_rss_mb, versions
from edge.cameras.backends.simulator import draw
from edge.cameras.settings import SimulatorSettings
from edge.errors import InputError
from edge.imaging.frame import Pixels
from edge.model.classifier import Classifier
from edge.model.file import ModelFile

WARM_UP_RUNS = 10
"""Warm-up runs fill caches and raise the clock; they are not counted."""

DRAWN_IMAGES = 8
DRAWN_SIDE_PX = 450  # as in C-NMC 2019

WINDOW_S = 1.0
"""In a sustained run, the classifier and the bare interpreter alternate after this time."""

Durations = dict[str, list[float]]
"""Milliseconds of each run, by stage."""


def bench(
    model: ModelFile,
    images: list[Pixels],
    runs: int = 200,
    threads: int = 1,
    seconds: float | None = None,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Time the classifier and the bare interpreter alternately, so that both run at the same clock and load.

    Then the daemon's own steps around the classifier, one frame after the other: `edge.bench.stages`.

    Args:
        images: (H, W, 3) uint8 RGB each, used in turn; simulated if there are none.
        runs: how many of each are timed.
        threads: of the interpreter.
        seconds: then continue for this long, alternating every second, and check whether it stays as fast.
        step: called after each of the parts, `parts(seconds)` times: for a progress bar.

    Returns:
        What `bench --json` prints for one model (docs: the command's contract); times in milliseconds.

    Raises:
        InputError: fewer than 1 run, or the model does not load.
    """
    from edge.bench.stages import daemon_stages  # loads the daemon, which the classifier does not need

    if runs < 1:
        raise InputError(f"{runs} runs; give 1 or more")
    images = images or drawn_images(DRAWN_SIDE_PX, DRAWN_SIDE_PX)
    classifier = Classifier(model, threads)
    before = conditions()
    gc.collect()
    gc.freeze()  # as the daemon does
    try:
        durations, bare_ms = _in_turn(classifier, images, runs)
        step()
        around = daemon_stages(classifier, model, images, runs)
        step()
    finally:
        gc.unfreeze()
    stages = {name: percentiles(times) for name, times in {**durations, **around}.items()}
    overhead = [total - invoke for total, invoke in zip(durations["total"], durations["invoke"], strict=True)]
    bare = percentiles(bare_ms)
    results = {
        "model": model.manifest.name,
        "model_sha256": model.sha256,
        "runs": runs,
        "threads": threads,
        "image_px": sorted({(image.shape[1], image.shape[0]) for image in images}),
        "stages_ms": stages,
        "bare_invoke_ms": bare,
        "overhead_ms": percentiles(overhead),
        "overhead_ratio": round(stages["total"]["p50"] / bare["p50"], 4),
        "overhead_ratio_min": round(stages["total"]["min"] / bare["min"], 4),
        "network": network(classifier, bare["min"]),
    }
    if seconds is not None:
        results["sustained"] = sustained(classifier, images, seconds, step)
    return results | {
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "machine": machine(),
        "conditions": {"before": before, "after": conditions()},
        "versions": versions(),
    }


def drawn_images(width: int, height: int, seed: int = 0) -> list[Pixels]:
    """Simulated cells in the middle of frames of that size, in pixels; the same seed draws the same cells."""
    return [draw(SimulatorSettings(seed=seed), width, height, number) for number in range(DRAWN_IMAGES)]


def _in_turn(classifier: Classifier, images: list[Pixels], runs: int) -> tuple[Durations, list[float]]:
    """The stages of each classification, and beside each the time of the network alone."""
    stages: Durations = {"preprocess": [], "invoke": [], "total": []}
    bare_ms: list[float] = []
    for run in range(-WARM_UP_RUNS, runs):
        image = images[run % len(images)]
        started = time.perf_counter_ns()
        prediction = classifier.classify(image)
        classified = time.perf_counter_ns()
        classifier.bare_invoke()
        finished = time.perf_counter_ns()
        if run >= 0:
            for stage, duration_ms in prediction.timings_ms.items():
                stages[stage].append(duration_ms)
            stages["total"].append((classified - started) / 1e6)
            bare_ms.append((finished - classified) / 1e6)
    return stages, bare_ms


def parts(seconds: float | None) -> int:
    """Number of calls that `bench` makes to its `step`."""
    return 2 + (math.ceil(seconds / (2 * WINDOW_S)) if seconds else 0)


def sustained(
    classifier: Classifier, images: list[Pixels], seconds: float, step: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Images per second over a long run, beside the bare interpreter's rate in turns of `WINDOW_S`.

    Returns:
        rates of both, their ratio, and the p50 of the first and the last tenth of the windows, which differ if a
        machine gets hot and slows down.
    """
    medians_ms: list[float] = []
    done, bare_done, busy_s, bare_busy_s = 0, 0, 0.0, 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not medians_ms:
        times_ms: list[float] = []
        started = now = time.perf_counter()
        while now < started + WINDOW_S:
            classifier.classify(images[done % len(images)])
            previous, now = now, time.perf_counter()
            times_ms.append((now - previous) * 1e3)
            done += 1
        busy_s += now - started
        medians_ms.append(float(np.median(times_ms)))
        bare_started = now
        while now < bare_started + WINDOW_S:
            classifier.bare_invoke()
            now = time.perf_counter()
            bare_done += 1
        bare_busy_s += now - bare_started
        step()
    tenth = max(1, len(medians_ms) // 10)
    rate, bare_rate = done / busy_s, bare_done / bare_busy_s
    return {
        "seconds": seconds,
        "images": done,
        "images_per_s": round(rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "throughput_ratio": round(rate / bare_rate, 4),
        "p50_first_ms": round(float(np.median(medians_ms[:tenth])), 4),
        "p50_last_ms": round(float(np.median(medians_ms[-tenth:])), 4),
        "p50_slowest_ms": round(max(medians_ms), 4),
    }


def network(classifier: Classifier, fastest_ms: float) -> dict[str, float]:
    """Multiply-adds of one image, and how many the fastest bare run did per second."""
    multiply_adds = classifier.multiply_adds()
    return {
        "multiply_adds": multiply_adds,
        "gmac_per_s": round(multiply_adds / fastest_ms / 1e6, 2),
    }


def percentiles(durations_ms: list[float]) -> dict[str, float]:
    """min, p50, p95, p99 and max, rounded to a tenth of a microsecond."""
    p50, p95, p99 = np.percentile(durations_ms, (50, 95, 99)).tolist()
    figures = {"min": min(durations_ms), "p50": p50, "p95": p95, "p99": p99, "max": max(durations_ms)}
    return {name: round(value, 4) for name, value in figures.items()}
