"""Debian's Prometheus with the fleet's own files, and a box that answers it."""

import json
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from broker import eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("prometheus_client")


def ask(port: int, path: str) -> Any:
    """An answer of Prometheus' API; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def value(port: int, expression: str) -> float | None:
    found = ask(port, f"query?query={urllib.parse.quote(expression)}")
    return float(found["result"][0]["value"][1]) if found and found["result"] else None


DASHBOARD = ROOT / "fleet" / "grafana" / "dashboards" / "leukoscope.json"
BOARDS_ONLY = {"Temperature", "What slows boards down"}
"""Panels that need a sensor; a PC may have none."""


def panels_without_answer(port: int) -> set[str]:
    """Titles of the dashboard's panels for which Prometheus has an error, or no series."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    assert len(asked) > 10
    return {title for title, expression in asked if value(port, expression.replace("$box", ".*")) is None}


def test_prometheus_reads_a_box_answers_the_dashboard_and_its_alert_fires(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (apt install prometheus)")
    metrics, port = free_port(), free_port()
    for name in ("prometheus.yml", "leukoscope.rules.yml"):
        text = (ROOT / "fleet" / "prometheus" / name).read_text()
        # Faster than in a laboratory, so that the test need not wait minutes.
        (tmp_path / name).write_text(text.replace("15s", "1s").replace("for: 5m", "for: 1s"))
    (tmp_path / "leukoscope-boxes.json").write_text(json.dumps([{"targets": [f"127.0.0.1:{metrics}"]}]))
    (tmp_path / "leukoscope.toml").write_text(
        f'[mqtt]\nport = 1\n[outbox]\nfile = "{tmp_path}/outbox.db"\n[archive]\ndirectory = "{tmp_path}/archive"\n'
    )
    box = subprocess.Popen(
        [
            *(sys.executable, "-m", "edge", "run", "--config", tmp_path / "leukoscope.toml"),
            *("--metrics", f"127.0.0.1:{metrics}"),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    server = subprocess.Popen(
        [
            *(
                program,
                f"--config.file={tmp_path / 'prometheus.yml'}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
            ),
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: value(port, 'up{job="leukoscope"}') == 1, 90)
        eventually(lambda: (value(port, "sum(leukoscope_results_total)") or 0) > 0, 60)
        assert value(port, "leukoscope_camera_ok") == 1
        eventually(lambda: panels_without_answer(port) <= BOARDS_ONLY, 60)
        assert value(port, "leukoscope_broker_connected") == 0
        eventually(
            lambda: any(
                alert["labels"]["alertname"] == "LeukoscopeBroker" and alert["state"] == "firing"
                for alert in (ask(port, "alerts") or {"alerts": []})["alerts"]
            ),
            90,
        )
    finally:
        for process in (server, box):
            process.terminate()
        for process in (server, box):
            process.wait(30)
