"""`leukoscope bench --rivals`: from a frame to the broker's acknowledgement, beside what one would write instead.

The rivals are plain scripts of a dozen lines: cut and scale by OpenCV, the int8 network of the same file, paho. All ways
take the same frames in turn and send to the same broker.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge.bench import DRAWN_SIDE_PX, drawn_images, percentiles
from edge.bench.command import asked_images, asked_models
from edge.bench.delivery import one_frame, started_delivery
from edge.bench.machine import busy, conditions, machine
from edge.bench.stages import TIMEOUT_S, HeldCamera
from edge.cameras.capture import Capture
from edge.daemon.pipeline import Pipeline
from edge.errors import LeukoscopeError
from edge.host.terminal import console
from edge.imaging.cores import use_cores
from edge.imaging.frame import Pixels
from edge.imaging.preprocess import prepare
from edge.model.classifier import Classifier
from edge.model.file import ModelFile
from edge.mqtt.brokers.local import broker
from export.rivals.engines import Engine, engines

SYNCED_BYTES = 8192
"""What SQLite writes for one record: two pages."""

TURN_RUNS, SETTLING_RUNS = 20, 5
"""So many frames of one way follow each other, after some that are not counted: engines leave threads that wait busily for a
while, and what the one before has queued is still being written."""

TOOL = "litert-benchmark"
TOOL_TIMEOUT_S = 60.0

_NO_JUDGEMENT = "light and colour, quality, refusals, restart, resending"
_NO_DISK = f"durability, gap-free numbers, {_NO_JUDGEMENT}"
_NO_NUMBERS = f"gap-free numbers, {_NO_JUDGEMENT}"


@dataclass(frozen=True)
class Way:
    """One way to the result.

    Attributes:
        name: of it.
        leaves_out: what it does not do that the box does; "" for nothing.
        run: takes the next frame to the end and gives the milliseconds.
    """

    name: str
    leaves_out: str
    run: Callable[[], float]


def command(options: argparse.Namespace) -> int:
    """`leukoscope bench --rivals`.

    Raises:
        InputError: models or images cannot be read.
        LeukoscopeError: there is no broker, or it does not answer.
    """
    models, images = asked_models(options), asked_images(options)
    for model in models:
        use_cores(options.threads[0])
        results = compare(model, images, options.runs, options.threads[0], options.deliver or "")
        console.figures(options.json, results, partial(format_table, results))
    return 0


def compare(
    model: ModelFile, images: Sequence[Pixels], runs: int, threads: int = 1, address: str = ""
) -> dict[str, Any]:
    """Time every way in turn.

    Args:
        images: (H, W, 3) uint8 RGB each; drawn by the simulator if there are none.
        address: HOST:PORT of the broker; "" for one of its own.

    Returns:
        For each way its milliseconds, their ratio to those of the box, and what it leaves out.

    Raises:
        LeukoscopeError: there is no broker, or it does not answer.
    """
    images = list(images) or drawn_images(*[DRAWN_SIDE_PX] * 2)
    before = conditions()
    with tempfile.TemporaryDirectory(prefix="leukoscope-bench-") as folder:
        found, missing = engines(model, threads)
        with _ways(model, images, threads, address, Path(folder), found) as ways:
            times: dict[str, list[float]] = {way.name: [] for way in ways}
            for done in range(0, runs, TURN_RUNS):
                for way in ways:
                    own = [way.run() for _ in range(SETTLING_RUNS + min(TURN_RUNS, runs - done))]
                    times[way.name] += own[SETTLING_RUNS:]
        figures = {name: percentiles(own) for name, own in times.items()}
        rows = [
            {"way": way.name, "ms": figures[way.name], "leaves_out": way.leaves_out} for way in ways
        ] + _own_tool(model, runs, threads, Path(folder))
    ours = figures[ways[0].name]["p50"]
    for row in rows:
        row["ratio"] = round(row["ms"]["p50"] / ours, 4)
    return {
        "model": model.manifest.name,
        "model_sha256": model.sha256,
        "runs": runs,
        "threads": threads,
        "ways": rows,
        "missing": missing,
        "machine": machine(),
        "conditions": {"before": before, "after": conditions()},
    }


@contextmanager
def _ways(
    model: ModelFile, images: list[Pixels], threads: int, address: str, folder: Path, found: list[Engine]
) -> Iterator[list[Way]]:
    """The box first, then plain scripts on each engine, then the disk alone."""
    pipeline = Pipeline(Classifier(model, threads), model, "bench", "0" * 64)
    camera = HeldCamera(images, model.manifest.geometry.crop)
    with (
        broker(address or None, folder) as (host, port),
        started_delivery(folder, f"{host}:{port}") as (outbox, _),
        closing(Capture(lambda: camera, TIMEOUT_S)) as newest,
        (folder / "plain.jsonl").open("ab", buffering=0) as file,
    ):
        newest.start()
        parts = camera, newest, pipeline, outbox
        client = _client(host, port)
        try:
            scripts = [
                Way(f"plain script, {engine.name}", _NO_DISK, _Script(model, images, engine, client).run)
                for engine in found
            ]
            synced = _Script(model, images, found[0], client, file.fileno())
            box = Way("leukoscope: frame, disk, PUBACK", "", lambda: one_frame(*parts)[1])
            yield [
                box,
                *scripts,
                Way("the first plain script, a line synced to a file first", _NO_NUMBERS, synced.run),
                Way("one fdatasync of 8 KB", "all but the disk", lambda: _sync_ms(file.fileno())),
            ]
        finally:
            client.disconnect()
            client.loop_stop()


class _Script:
    """What one would write: cut, scale, run, publish, wait for the acknowledgement.

    Args:
        file: a descriptor to append each result to and sync before it is sent; None for none.
    """

    def __init__(
        self,
        model: ModelFile,
        images: list[Pixels],
        engine: Engine,
        client: Client,
        file: int | None = None,
    ):
        self._geometry, self._labels = model.manifest.geometry, model.manifest.labels
        self._images, self._engine, self._client, self._file = cycle(images), engine, client, file

    def run(self) -> float:
        """Milliseconds of the next frame."""
        image = next(self._images)
        started = time.perf_counter_ns()
        self._engine.load(prepare(image, self._geometry))
        self._engine.run()
        first, second = self._engine.probabilities().tolist()
        verdict = self._labels[0 if first >= second else 1]
        payload = json.dumps({"time": time.time(), "verdict": verdict, "p": [first / 256, second / 256]})
        if self._file is not None:
            os.write(self._file, payload.encode() + b"\n")
            os.fdatasync(self._file)
        sent = self._client.publish("leukoscope-rival/cells", payload, qos=1)
        sent.wait_for_publish(TIMEOUT_S)
        if not sent.is_published():
            raise LeukoscopeError(f"the broker did not acknowledge a plain script in {TIMEOUT_S:g} s")
        return (time.perf_counter_ns() - started) / 1e6


def _client(host: str, port: int) -> Client:
    client = Client(CallbackAPIVersion.VERSION2, "leukoscope-rival", protocol=MQTTProtocolVersion.MQTTv311)
    client.connect(host, port)
    client.loop_start()
    return client


def _sync_ms(file: int) -> float:
    started = time.perf_counter_ns()
    os.write(file, bytes(SYNCED_BYTES))
    os.fdatasync(file)
    return (time.perf_counter_ns() - started) / 1e6


def _own_tool(model: ModelFile, runs: int, threads: int, folder: Path) -> list[dict[str, Any]]:
    """LiteRT's own tool, which comes with its package: the network alone. Nothing where it is missing or fails."""
    program = shutil.which(
        TOOL, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        return []
    network, answer = folder / "network.tflite", folder / "tool.json"
    asked: list[str | Path] = ["--num_runs", str(runs), "--num_threads", str(threads)]
    network.write_bytes(model.flatbuffer)
    try:
        subprocess.run(
            [program, "--model", network, *asked, "--result_json", answer],
            check=True,
            capture_output=True,
            timeout=TOOL_TIMEOUT_S,
        )
        latency = json.loads(answer.read_bytes())["latency"]
        names = {"min": "min_ms", "p50": "median_ms", "p95": "p95_ms", "max": "max_ms"}
        times = {name: float(latency[key]) for name, key in names.items()}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []
    return [{"way": TOOL, "ms": times, "leaves_out": "all but the network"}]


def format_table(results: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{results['model']} on {results['machine']}, threads: {results['threads']}; milliseconds, {results['runs']} "
        "runs of each, a score at a time",
        *busy(results),
        f"{'':<54}{'min':>8}{'p50':>8}{'p95':>8}  p50 / ours  leaves out",
    ]
    for row in results["ways"]:
        ms = row["ms"]
        figures = "".join(f"{ms[key]:>8.3f}" for key in ("min", "p50", "p95"))
        lines.append(f"{row['way']:<54}{figures}{row['ratio']:>12.2f}  {row['leaves_out'] or '-'}")
    if results["missing"]:
        lines.append(f"not installed: {', '.join(results['missing'])}: pip install 'leukoscope[bench]'")
    return "\n".join(lines)
