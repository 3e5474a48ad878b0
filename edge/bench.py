"""Per-image latency, stage by stage, beside the bare interpreter."""

import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.cameras.simulator import SimulatorSettings, draw
from edge.classifier import Classifier
from edge.errors import InputError
from edge.frame import Pixels
from edge.modelfile import ModelFile

WARM_UP_RUNS = 10
"""First runs fill caches and raise the clock; none of them counts."""

DRAWN_IMAGES = 8
DRAWN_SIDE_PX = 450  # as in C-NMC 2019


def bench(model: ModelFile, images: list[Pixels], runs: int = 200, threads: int = 1) -> dict[str, Any]:
    """Time the classifier and the bare interpreter in turn, so that both meet the same clock and load.

    Args:
        images: (H, W, 3) uint8 RGB each, used in turn; drawn by the simulator where there are none.
        runs: how many of each are timed.
        threads: of the interpreter.

    Returns:
        What `bench --json` prints for one model (docs: the command's contract); times in milliseconds.

    Raises:
        InputError: fewer than 1 run, or the model does not load.
    """
    if runs < 1:
        raise InputError(f"{runs} runs; give 1 or more")
    images = images or [
        draw(SimulatorSettings(), DRAWN_SIDE_PX, DRAWN_SIDE_PX, number) for number in range(DRAWN_IMAGES)
    ]
    classifier = Classifier(model, threads)
    stages: dict[str, list[float]] = {"preprocess": [], "invoke": [], "total": []}
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
    total, bare = _percentiles(stages["total"]), _percentiles(bare_ms)
    return {
        "model": model.manifest.name,
        "model_sha256": model.sha256,
        "runs": runs,
        "threads": threads,
        "stages_ms": {stage: _percentiles(durations) for stage, durations in stages.items()},
        "bare_invoke_ms": bare,
        "overhead_ratio": round(total["p50"] / bare["p50"], 4),
        "peak_rss_mb": round(_peak_rss_mb(), 1),
        "machine": machine(),
    }


def format_table(results: dict[str, Any]) -> str:
    """The results of `bench` for people."""
    columns = ("p50", "p95", "p99", "max")
    rows = [*results["stages_ms"].items(), ("bare invoke", results["bare_invoke_ms"])]
    lines = [
        f"{results['model']} ({results['model_sha256'][:12]}) on {results['machine']}",
        f"{results['runs']} runs, threads: {results['threads']}; milliseconds an image",
        f"{'':<12}" + "".join(f"{column:>10}" for column in columns),
    ]
    for name, times in rows:
        lines.append(f"{name:<12}" + "".join(f"{times[column]:>10.3f}" for column in columns))
    lines.append(
        f"total / bare invoke at p50: {results['overhead_ratio']:.3f}; "
        f"peak memory: {results['peak_rss_mb']:.0f} MB"
    )
    return "\n".join(lines)


def machine() -> str:
    """The board or processor, its architecture and the Python version."""
    name = ""
    board = Path("/proc/device-tree/model")  # Raspberry Pi and Jetson
    processors = Path("/proc/cpuinfo")
    if board.is_file():
        name = board.read_text(errors="replace").strip("\0\n ")
    elif processors.is_file():
        for line in processors.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name or platform.node()} ({platform.machine()}, Python {platform.python_version()})"


def _percentiles(durations_ms: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(durations_ms, (50, 95, 99)).tolist()
    figures = {"p50": p50, "p95": p95, "p99": p99, "max": max(durations_ms)}
    return {name: round(value, 4) for name, value in figures.items()}


def _peak_rss_mb() -> float:
    # Linux counts in KiB, macOS in bytes.
    divisor = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / divisor
