"""Checks whether the daemon's memory stays constant: millions of simulated results through record, outbox and
broker."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from edge.bench.delivery import started_delivery
from edge.bench.fields import CROWDED, drawn_fields
from edge.cameras.settings import CameraSettings
from edge.daemon.fields import FieldPipeline, FieldStream
from edge.daemon.judge import reference_of
from edge.daemon.pipeline import Pipeline
from edge.health.report import Health
from edge.health.runlog import Restarts
from edge.host.machine import memory_mb
from edge.imaging.frame import Frame, Pixels
from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.mqtt.brokers.local import broker
from edge.mqtt.settings import MqttSettings
from edge.outbox.queue import Outbox
from edge.settings import DeviceSettings, Settings

CLASSIFIED_EACH = 200
"""The network runs once per this many results; the others repeat its last verdict, to save time."""

SAMPLES = 40
WARM_UP_SHARE = 0.1
"""Until this share of the run is done, queues, caches and the database's page cache fill."""

ALLOWED_GROWTH_MB = 2.0
"""After the warm-up. A leak of one Python object a result would be 50 MB in a million."""

DRAIN_TIMEOUT_S = 60.0

FIELDS = 16
"""So many fields are drawn and make a specimen: about 200 white cells, what one counts. No field comes twice in a
specimen, since of a cell that was seen before there is no result."""

FILLED = 5000
"""So many field records fill the page cache of their outbox first: fields alone would take a hundred thousand results
to do so, which would look like a leak."""

AHEAD = 400
"""Results that may wait for the broker: the outbox is then about as full as it gets in normal work."""


def flat_memory(
    model: ModelFile,
    images: list[Pixels],
    results: int,
    address: str,
    max_seconds: float,
    step: Callable[[], None] = lambda: None,
    field: bool = False,
) -> dict[str, Any]:
    """Send simulated results to a broker, and sample the memory of this process.

    Args:
        images: (H, W, 3) uint8 RGB each: cells, or whole fields; drawn fields if there are none of them.
        results: how many.
        address: HOST:PORT of the broker; "" for a Mosquitto on a free loopback port.
        max_seconds: stop after this time, with the results so far.
        step: is called with each sample, about SAMPLES times: for a progress bar.
        field: the images are whole fields, each of which is judged; every record of a cell or a field is a result.

    Returns:
        "samples" of (results, RSS in MB), "growth_mb" from the end of the warm-up to the highest sample
        after it, and whether that is "flat".

    Raises:
        LeukoscopeError: there is no broker, or it does not answer.
    """
    started = time.monotonic()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="leukoscope-bench-")))
        host, port = opened.enter_context(broker(address or None, folder))
        outbox, _ = opened.enter_context(started_delivery(folder, f"{host}:{port}"))
        health = Health(outbox, folder, reference_of(model), Restarts())
        outboxes: list[Outbox] = [outbox]
        if field:
            stream = opened.enter_context(_stream(host, port, outbox))
            outboxes.append(stream.outbox)
            work = _send_fields(
                model, outboxes, health, images or drawn_fields([CROWDED], range(FIELDS)), results
            )
        else:
            pipeline = Pipeline(Classifier(model), model, "bench", "0" * 64)
            work = _send(pipeline, outbox, health, images, results)
        done, samples = _sampled(work, results, started, max_seconds, step)
        for one in outboxes:
            one.wait_empty(DRAIN_TIMEOUT_S)
        left = sum(one.depth() for one in outboxes)
    after = [mb for count, mb in samples if count >= WARM_UP_SHARE * done] or [memory_mb()["process"]]
    growth_mb = round(max(after) - after[0], 2)
    return {
        "results": done,
        "undelivered": left,
        "seconds": round(time.monotonic() - started, 1),
        "samples": samples,
        "growth_mb": growth_mb,
        "flat": done >= results and left == 0 and growth_mb <= ALLOWED_GROWTH_MB,
    }


def _sampled(
    work: Iterator[int], results: int, started: float, max_seconds: float, step: Callable[[], None]
) -> tuple[int, list[tuple[int, float]]]:
    """Do the work until it is done or the time is over; the number of results, and samples of (results, RSS in MB)."""
    samples: list[tuple[int, float]] = []
    done, each = 0, max(1, results // SAMPLES)
    for done in work:
        number = len(samples) + 1
        # By the clock too, if the time is too short for all results.
        if done >= each * number or time.monotonic() > started + max_seconds * number / SAMPLES:
            samples.append((done, round(memory_mb()["process"], 2)))
            step()
        if time.monotonic() - started > max_seconds:
            break
    return done, samples


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


@contextmanager
def _stream(host: str, port: int, cells: Outbox) -> Iterator[FieldStream]:
    """The stream of the fields' records, beside that of the cells'."""
    settings = Settings(device=DeviceSettings(id="bench"), mqtt=MqttSettings(host=host, port=port))
    stream = FieldStream(settings, cells.file)
    stream.publisher.start()
    try:
        yield stream
    finally:
        stream.close(DRAIN_TIMEOUT_S, DRAIN_TIMEOUT_S)


def _send_fields(
    model: ModelFile, outboxes: list[Outbox], health: Health, images: list[Pixels], results: int
) -> Iterator[int]:
    """Judge whole fields, one specimen after the other; yields the number of results so far."""
    cells, fields = outboxes
    classifier = Classifier(model)
    pipeline = Pipeline(classifier, model, "bench", "0" * 64)
    judging = FieldPipeline(model, classifier, CameraSettings(view="field"), pipeline, "bench")
    done = 0
    for number in itertools.count():
        specimen = f"simulated {number // len(images)}"
        pixels = images[number % len(images)]
        frame = Frame(pixels, time.time_ns(), time.monotonic_ns(), "simulated", specimen)
        judged = judging.results(frame, asked=True)
        assert judged is not None
        for record, _ in judged.cells:
            cells.accept(record)
            health.result(frame, record)
        for _ in range(1 if number else FILLED):
            fields.accept(judged.field)
            while fields.depth() > AHEAD:
                fields.wait_empty(0.01)
        done += len(judged.cells) + 1
        yield done
        if done >= results:
            return
        while cells.depth() > AHEAD:
            cells.wait_empty(0.01)


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
