"""The benchmark: what it reports, on a tiny model and on the one that ships."""

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from broker import Mosquitto
from tiny_model import write_tiny

from edge.bench import bench, drawn_images
from edge.bench.delivery import WatchedOutbox, deliver
from edge.bench.fields import CROWDED, drawn_fields
from edge.bench.fields import STAGES as STAGES_OF_FIELDS
from edge.bench.fields import format_table as format_fields
from edge.bench.memory import flat_memory
from edge.bench.report import format_family, format_table, plot
from edge.bench.start import start_and_idle
from edge.cli.main import main
from edge.errors import InputError, LeukoscopeError
from edge.model.classifier import Classifier
from edge.model.file import ModelFile, read_model
from edge.model.installed import default_model
from edge.outbox.queue import Outbox
from edge.records import Record

CONTRACT = {
    "model",
    "runs",
    "threads",
    "stages_ms",
    "bare_invoke_ms",
    "overhead_ratio",
    "peak_rss_mb",
    "machine",
}
STAGES = {"preprocess", "invoke", "total", "capture", "record", "accept", "durable"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture(scope="module")
def results(model: ModelFile) -> dict:
    return bench(model, [], runs=20, threads=1, seconds=0.1)


def test_every_key_and_stage_of_the_contract_is_there_and_in_order(model: ModelFile, results: dict) -> None:
    assert set(results) >= CONTRACT
    assert results["runs"] == 20 and results["model"] == "tiny" and results["model_sha256"] == model.sha256
    assert set(results["stages_ms"]) == STAGES
    for times in (*results["stages_ms"].values(), results["bare_invoke_ms"], results["overhead_ms"]):
        assert 0 < times["min"] <= times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    total, bare = results["stages_ms"]["total"], results["bare_invoke_ms"]
    assert results["overhead_ratio"] == pytest.approx(total["p50"] / bare["p50"], rel=0.01)
    assert results["overhead_ratio"] > 1
    assert 10 < results["peak_rss_mb"] < 100_000
    json.dumps(results)


def test_a_sustained_run_gives_rates_and_their_ratio(results: dict) -> None:
    sustained = results["sustained"]
    assert sustained["images"] >= 1
    assert sustained["throughput_ratio"] == pytest.approx(
        sustained["images_per_s"] / sustained["bare_per_s"], rel=0.01
    )
    assert 0 < sustained["p50_first_ms"] <= sustained["p50_slowest_ms"]


def test_the_table_shows_stages_model_machine_and_conditions(results: dict) -> None:
    table = format_table(results)
    for word in (
        "preprocess",
        "capture",
        "bare invoke",
        "p99",
        "tiny",
        results["machine"],
        "load",
        "without a pause",
    ):
        assert word in table
    both = format_family([results, results | {"model": "other", "threads": 2}])
    assert sum(line.startswith(("tiny ", "other ")) for line in both.splitlines()) == 2


def under_load(results: dict, before: float, after: float, cores: int = 4) -> dict:
    """The same results as if they were measured at that load."""
    loads = [{**results["conditions"][moment], "cores": cores} for moment in ("before", "after")]
    loads[0]["load_1min"], loads[1]["load_1min"] = before, after
    return results | {"conditions": dict(zip(("before", "after"), loads, strict=True))}


@pytest.mark.parametrize(("before", "after"), [(6.0, 2.0), (0.0, 6.0)])
def test_a_busy_machine_is_pointed_out_above_the_figures(results: dict, before: float, after: float) -> None:
    loaded = under_load(results, before, after)
    for table in (format_table(loaded), format_family([under_load(results, 0, 0), loaded])):
        (line,) = [line for line in table.splitlines() if line.startswith("BUSY MACHINE")]
        assert "on 4 cores" in line and "fastest (min)" in line and "measure again" in line
        assert table.index(line) < table.index("p50  ")


@pytest.mark.parametrize(("before", "after"), [(0.8, 1.5), (3.0, 4.5)])
def test_free_cores_are_no_busy_machine(results: dict, before: float, after: float) -> None:
    quiet = under_load(results, before, after)
    assert "BUSY" not in format_table(quiet) + format_family([quiet, quiet])


def test_the_fastest_stands_beside_the_median(results: dict) -> None:
    table = format_family([under_load(results, 0, 0)] * 2).splitlines()
    names, figures = table[1].split("  "), table[2].split()
    names = [name.strip() for name in names if name.strip()]
    shown = dict(zip(names, figures[1:], strict=True))
    total, bare = results["stages_ms"]["total"], results["bare_invoke_ms"]
    assert float(shown["total min"]) == pytest.approx(total["min"], abs=0.001)
    assert float(shown["bare min"]) == pytest.approx(bare["min"], abs=0.001)
    assert float(shown["ratio min"]) == pytest.approx(results["overhead_ratio_min"], abs=0.001)
    assert float(shown["total p50"]) == pytest.approx(total["p50"], abs=0.001)


def test_fields_have_the_fastest_and_the_median_of_every_stage_and_say_that_the_machine_was_busy() -> None:
    times = {stage: {"min": 1.5, "p50": 7.25, "p95": 9.0} for stage in STAGES_OF_FIELDS}
    one = {
        "model": "tiny",
        "machine": "m",
        "threads": 1,
        "field_px": [640, 480],
        "cells": 5,
        "stages_ms": times,
    }
    one |= {"peak_rss_mb": 100.0, "conditions": {"before": {}, "after": {}}}
    lines = format_fields([under_load(one, 9, 9)]).splitlines()
    assert lines[1].startswith("BUSY MACHINE") and max(map(len, [lines[2], *lines[3:]])) <= 80
    fastest, median = lines[3:5]
    assert fastest.split()[3:] == ["min", *["1.50"] * 7] and median.split() == ["p50", *["7.25"] * 7]
    assert "BUSY" not in format_fields([under_load(one, 0, 1)])


def test_the_multiply_adds_are_those_of_the_architecture() -> None:
    # MobileNet V1 0.25/192 without its classifier, a map on top: 192 halves as often as 128, of which Howard et al.
    # 2017 have 14 million with the classifier, so each layer has 2.25 times as many. Smoothing makes the first kernel,
    # of 96x96 positions, 3 channels and 8 filters, 7x7 in place of 3x3.
    classifier = Classifier(read_model(default_model()))
    assert classifier.multiply_adds() == 13_314_048 * 9 // 4 + 36 * 256 * 2 + 96 * 96 * 3 * 8 * (49 - 9)


def test_images_and_runs_out_of_range_are_refused(model: ModelFile) -> None:
    with pytest.raises(InputError, match="0 runs; give 1 or more"):
        bench(model, [], runs=0)


def test_a_plot_is_a_picture(results: dict, tmp_path: Path) -> None:
    plot([results, results], tmp_path / "bench.png")
    picture = cv2.imread(str(tmp_path / "bench.png"))
    assert picture is not None and picture.shape[0] > 200 and np.std(picture) > 10
    with pytest.raises(LeukoscopeError, match="give a file that can be written"):
        plot([results], tmp_path / "missing" / "bench.png")


def test_a_plot_without_matplotlib_says_what_to_install(
    results: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LeukoscopeError, match=r"pip install 'leukoscope\[bench\]'"):
        plot([results], tmp_path / "bench.png")


def test_one_line_for_each_model_and_number_of_threads(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copy(model.path, tmp_path / "other.tflite")
    command = ["bench", "--model", str(model.path), str(other), "--threads", "1,2", "--runs", "3", "--json"]
    assert main([*command, "--frame", "640x480"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["threads"] for line in lines] == [1, 2, 1, 2]
    assert all(line["image_px"] == [[640, 480]] for line in lines)


def test_options_that_exclude_each_other_are_wrong_usage(
    model: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--family", "--model", str(model.path)]) == 2
    assert main(["bench", "--model", str(model.path), "--images", ".", "--frame", "640x480"]) == 2
    assert "give one of them" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--frame", "640"])


def test_every_frame_is_on_the_disk_before_the_broker_has_it(model: ModelFile, tmp_path: Path) -> None:
    with Mosquitto(tmp_path).start() as mosquitto:
        images = drawn_images(64, 64)
        results = deliver(model, images, 5, 1, f"127.0.0.1:{mosquitto.port}", seconds=0.1)
    assert results["broker"].startswith("connected")
    for quantile in ("min", "p50", "max"):
        durable, acknowledged = (
            results["frame_to_durable_ms"][quantile],
            results["frame_to_puback_ms"][quantile],
        )
        assert results["bare_invoke_ms"]["min"] < durable < acknowledged
    assert results["throughput"]["records"] >= 1
    assert results["throughput"]["per_s"] > 0


def test_results_to_a_broker_are_counted_and_the_memory_is_watched(
    model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Mosquitto(tmp_path).start() as mosquitto:
        address = f"127.0.0.1:{mosquitto.port}"
        command = ["bench", "--model", str(model.path), "--memory", "2000", "--deliver", address, "--json"]
        status = main(command)
    memory = json.loads(capsys.readouterr().out)
    assert memory["results"] == 2000 and memory["undelivered"] == 0
    assert [count for count, _ in memory["samples"]] == list(range(50, 2001, 50))
    assert status == (0 if memory["flat"] else 1)


def test_memory_that_grows_is_said_to_grow(
    model: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaked: list[bytes] = []

    def accept(self: WatchedOutbox, record: Record) -> object:
        leaked.append(b"x" * 200_000)
        return Outbox.accept(self, record)

    monkeypatch.setattr(WatchedOutbox, "accept", accept)
    with Mosquitto(tmp_path).start() as mosquitto:
        address = f"127.0.0.1:{mosquitto.port}"
        memory = flat_memory(model, drawn_images(64, 64), 500, address, max_seconds=60)
    assert not memory["flat"] and memory["growth_mb"] > 5


def test_fields_for_memory_give_results_and_all_are_delivered(tmp_path: Path) -> None:
    with Mosquitto(tmp_path).start() as mosquitto:
        address = f"127.0.0.1:{mosquitto.port}"
        fields = drawn_fields([CROWDED], range(2))
        memory = flat_memory(read_model(default_model()), fields, 60, address, max_seconds=120, field=True)
    # Two fields of a specimen give twelve cells each and a record of the field; then the next specimen begins.
    assert 60 <= memory["results"] < 60 + 13
    assert memory["undelivered"] == 0


def test_the_daemon_as_a_process_starts_and_idles(model: ModelFile) -> None:
    results = start_and_idle(model, drawn_images(450, 450), starts=1, idle_seconds=1.0)
    assert 0.05 < results["cpu_s"]["p50"] < results["first_result_s"]["p50"] * 2
    assert 20 < results["peak_rss_mb"] < 200
    assert set(results["idle_cpu"]) == {"request", "settled"}
    assert results["idle_cpu"]["request"] < results["idle_cpu"]["settled"] < 1
