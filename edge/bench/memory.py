"""Checks whether the daemon's memory stays constant: millions of simulated results through record, outbox and
broker."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edge.bench.delivery import started_delivery
from edge.daemon.judge import reference_of
from edge.daemon.pipeline import Pipeline
from edge.health.report import Health
from edge.health.runlog import Restarts
from edge.host.machine import memory_mb
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.outbox.queue import Outbox

CLASSIFIED_EACH = 200
"""The network runs once per this many results; the others repeat its last verdict, to save time."""

SAMPLES = 40
WARM_UP_SHARE = 0.1
"""Until this share of the run is done, queues, caches and the database's page cache fill."""

ALLOWED_GROWTH_MB = 2.0
"""After the warm-up. A leak of one Python object a result would be 50 MB in a million."""

DRAIN_TIMEOUT_S = 60.0

AHEAD = 400
"""Results that may wait for the broker: the outbox is then about as full as it gets in normal work."""


def flat_memory(
    model: ModelFile,
    images: list[Pixels],
    results: int,
    address: str,
    max_seconds: float,
    step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Send simulated results to a broker, and sample the memory of this process.

    Args:
        results: how many.
        address: HOST:PORT of the broker; "" for a Mosquitto on a free loopback port.
        max_seconds: stop after this time, with the results so far.
        step: is called with each sample, about SAMPLES times: for a progress bar.

    Returns:
        "samples" of (results, RSS in MB), "growth_mb" from the end of the warm-up to the highest sample
        after it, and whether that is "flat".

    Raises:
        LeukoscopeError: there is no broker, or it does not answer.
    """
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="leukoscope-bench-") as folder,
        started_delivery(Path(folder), address) as (outbox, _),
    ):
        pipeline = Pipeline(Classifier(model), model, "bench", "0" * 64)
        reference = reference_of(model)
        health = Health(outbox, Path(folder), reference, Restarts())
        samples = []
        done = 0
        for done in _send(pipeline, outbox, health, images, results):
            if done % max(1, results // SAMPLES) == 0:
                samples.append((done, round(memory_mb()["process"], 2)))
                step()
            if time.monotonic() - started > max_seconds:
                break
        outbox.wait_empty(DRAIN_TIMEOUT_S)
        left = outbox.depth()
    after = [mb for count, mb in samples if count >= WARM_UP_SHARE * results] or [memory_mb()["process"]]
    growth_mb = round(max(after) - after[0], 2)
    return {
        "results": done,
        "undelivered": left,
        "seconds": round(time.monotonic() - started, 1),
        "samples": samples,
        "growth_mb": growth_mb,
        "flat": done == results and left == 0 and growth_mb <= ALLOWED_GROWTH_MB,
    }


def _send(
    pipeline: Pipeline, outbox: Outbox, health: Health, images: list[Pixels], results: int
) -> Iterator[int]:
    """Accept results as fast as the broker takes them; yields the number so far."""
    for number in range(results):
        frame = Frame(images[number % len(images)], time.time_ns(), time.monotonic_ns(), "simulated")
        if number % CLASSIFIED_EACH == 0:
            prediction, _ = pipeline.classify(frame)
        record = pipeline.write_up(frame, prediction)
        outbox.accept(record)
        health.result(frame, record)
        yield number + 1
        while number % AHEAD == 0 and outbox.depth() > AHEAD:
            outbox.wait_empty(0.01)


def format_table(memory: dict[str, Any]) -> str:
    """For people."""
    shown = memory["samples"][:: max(1, len(memory["samples"]) // 10)]
    lines = [f"{count:>10} results {mb:>8.2f} MB" for count, mb in shown]
    return "\n".join(
        [
            *lines,
            f"{memory['results']} results in {memory['seconds']:.0f} s, {memory['undelivered']} undelivered; memory "
            f"grew by {memory['growth_mb']:.2f} MB after the warm-up: {'flat' if memory['flat'] else 'NOT flat'}",
        ]
    )
