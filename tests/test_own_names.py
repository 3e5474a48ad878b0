"""A model whose classes have other names: every surface shows those, and none shows ALL and HEM."""

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from own_classes import NEGATIVE, POSITIVE, own_model

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "LINES": "40"}
SAMPLES = ROOT / "samples" / "cells"
pytest.importorskip("sqlalchemy")


def leukoscope(folder: Path, *arguments: object) -> str:
    """A command's standard output; it must end well and name no class of the model that ships."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "HEM" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shipped_model: Path) -> Path:
    """Samples in folders of these names, the model, and the results of a demo with both."""
    made = tmp_path_factory.mktemp("own")
    own_model(made / "own.tflite", shipped_model)
    for name, source in ((POSITIVE, "all"), (NEGATIVE, "hem")):
        (made / "cells" / name).mkdir(parents=True)
        for picture in sorted((SAMPLES / source).iterdir())[:5]:
            shutil.copy(picture, made / "cells" / name / picture.name.split("_all")[0].split("_hem")[0])
            (made / "cells" / name / picture.name.split("_all")[0].split("_hem")[0]).rename(
                made / "cells" / name / f"{picture.stem[:-4]}.png"
            )
    said = leukoscope(made, "demo", "--model", "own.tflite", "--images", "cells", "--seconds", 60, "--no-web")
    assert f"10 results stored, no duplicates: 5 {POSITIVE}, 5 {NEGATIVE}, 0 referred; 10 right" in said
    return made


DATABASE = "sqlite:///demo-results.db"


def test_results_count_by_these_names(folder: Path) -> None:
    table = leukoscope(folder, "results", DATABASE)
    assert table.splitlines()[0].split("first")[0].split() == [
        *("specimen", "results", "blast", "normal", "cell", "refer", "other", "mean", "p(blast)")
    ]
    totals = [json.loads(line) for line in leukoscope(folder, "results", DATABASE, "--json").splitlines()]
    assert {total["key"]: total["counts"] for total in totals} == {
        POSITIVE: {POSITIVE: 5, NEGATIVE: 0, "refer": 0, "other": 0},
        NEGATIVE: {POSITIVE: 0, NEGATIVE: 5, "refer": 0, "other": 0},
    }
    assert all((total["mean_probability"] > 0.5) == (total["key"] == POSITIVE) for total in totals)
    rows = list(csv.DictReader(io.StringIO(leukoscope(folder, "results", DATABASE, "--csv", "-"))))
    assert all((float(row["p_blast"]) > 0.5) == (row["specimen"] == POSITIVE) for row in rows)


def test_the_report_counts_by_these_names(folder: Path) -> None:
    for name in ("report.html", "report.json", "report.csv"):
        leukoscope(
            folder, "report", POSITIVE, "--from", DATABASE, "--out", name, "--model", "own.tflite", "--json"
        )
    page = (folder / "report.html").read_text()
    assert f"<th>{POSITIVE}</th><th>{NEGATIVE}</th>" in page
    assert "cells called blast per 100 white cells" in page
    assert "5 of 5" in page
    assert "HEM" not in page
    # LOINC's codes for blasts are not those of any class that a laboratory names so.
    document = (folder / "report.json").read_text()
    assert "loinc" not in document
    assert "Cells called blast per 100 white cells" in document
    rows = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text())))
    assert [row["counted_as"] for row in rows] == [POSITIVE] * 5
    assert all(float(row["probability_blast"]) > 0.5 for row in rows)


def test_classify_names_them_everywhere(folder: Path) -> None:
    leukoscope(
        *(folder, "classify", "cells", "--model", "own.tflite", "--csv", "cells.csv", "--html", "cells.html"),
        *("--explain", "maps"),
    )
    rows = list(csv.DictReader(io.StringIO((folder / "cells.csv").read_text(encoding="utf-8-sig"))))
    assert {row["verdict"] for row in rows} == {row["label"] for row in rows} == {POSITIVE, NEGATIVE}
    sheet = (folder / "cells.html").read_text()
    assert "HEM" not in sheet
    assert NEGATIVE in sheet


def test_the_panel_of_the_demo_shows_them(folder: Path) -> None:
    """On a terminal the demo is drawn."""
    master, slave = pty.openpty()
    command = ["demo", "--model", "own.tflite", "--images", "cells", "--no-web", "--to", "sqlite:///panel.db"]
    demo = subprocess.Popen(
        [sys.executable, "-m", "edge", *command],
        cwd=folder,
        env=ENVIRONMENT | {"TERM": "xterm", "TMPDIR": str(folder)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the terminal is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert demo.wait(60) == 0, shown[-2000:]
    text = shown.decode(errors="replace")
    assert NEGATIVE in text
    assert "p(blast)" in text
    assert "HEM" not in text
