"""The bare networks of several model files, timed alternately, so that all run at the same clock and load.

python -m export.latency ours.tflite plain.tflite --runs 300
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.bench import WARM_UP_RUNS
from edge.bench.machine import machine
from edge.errors import LeukoscopeError
from edge.model.file import open_model, read_model

Milliseconds = list[float]


def invoke_ms(files: list[Path], runs: int, threads: int = 1) -> list[Milliseconds]:
    """The durations of single inferences of each file, in milliseconds.

    Every run times each file once, beginning with another one each time: what is timed behind a larger
    network finds its weights no longer in the cache.

    Args:
        files: model files.
        runs: how often each is timed, after a warm-up.

    Raises:
        InputError: a file is no model file.
    """
    return timed([open_model(read_model(file), threads) for file in files], runs)


def timed(interpreters: Sequence[Any], runs: int) -> list[Milliseconds]:
    """The durations of single inferences of int8 interpreters, timed in turn after a warm-up; see `invoke_ms`."""
    rng = np.random.default_rng(0)
    for interpreter in interpreters:
        entry = interpreter.get_input_details()[0]
        pixels = rng.integers(-128, 128, entry["shape"], dtype=np.int8)
        interpreter.set_tensor(entry["index"], pixels)
    durations: list[Milliseconds] = [[] for _ in interpreters]
    for run in range(-WARM_UP_RUNS, runs):
        for turn in range(len(interpreters)):
            index = (run + turn) % len(interpreters)
            started = time.perf_counter_ns()
            interpreters[index].invoke()
            duration_ms = (time.perf_counter_ns() - started) / 1e6
            if run >= 0:
                durations[index].append(duration_ms)
    return durations


def main(arguments: list[str] | None = None) -> int:
    """Print the percentiles of each file, and the ratio of its median to that of the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="MODEL.tflite")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        durations = invoke_ms(options.files, options.runs, options.threads)
    except LeukoscopeError as error:
        print(f"leukoscope: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{machine()}; {options.runs} runs of each in turn, threads: {options.threads}; milliseconds")
    print(f"{'p10':>8} {'p50':>8} {'p95':>8}  to the first")
    for file, times in zip(options.files, durations, strict=True):
        p10, p50, p95 = np.percentile(times, (10, 50, 95))
        print(f"{p10:8.3f} {p50:8.3f} {p95:8.3f}  {p50 / np.median(durations[0]):12.3f}  {file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
