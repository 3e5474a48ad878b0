"""The files for a fleet's server: read by the programs that they are for, where Debian has these."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broker import make_record

from edge.cli.parser import make_parser
from edge.health.report import Health
from edge.health.runlog import Restarts
from edge.outbox.queue import Outbox
from edge.records import ModelReference

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
FLEET = ROOT / "fleet"
UNITS = sorted((FLEET / "units").glob("*.service"))
PRIVATE = "./private/"  # what a laboratory makes itself
RULES = FLEET / "prometheus" / "leukoscope.rules.yml"
DASHBOARD = FLEET / "grafana" / "dashboards" / "leukoscope.json"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (apt install prometheus)")
    return found


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FLEET / "compose.yaml").read_text())
    return document


def test_every_command_of_compose_is_one_that_leukoscope_takes() -> None:
    commands = [service["command"] for service in compose()["services"].values() if "build" in service]
    assert len(commands) == 2
    for command in commands:
        make_parser().parse_args([word.replace("$$", "$") for word in command])


def test_compose_follows_the_compose_specification() -> None:
    pytest.importorskip("check_jsonschema")
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, FLEET / "compose.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_and_name_that_compose_asks_for_is_there() -> None:
    document = compose()
    for name, service in document["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("."):
                assert source in document["volumes"], name
            elif not source.startswith(PRIVATE):
                assert (FLEET / source).exists(), source
        for secret in service.get("secrets", []):
            assert secret in document["secrets"], name
        for other in service.get("depends_on", {}):
            assert other in document["services"], name
        if "build" in service:
            context = FLEET / service["build"]["context"]
            copied = re.findall(
                r"^COPY (.+) \S+$", (context / service["build"]["dockerfile"]).read_text(), re.M
            )
            assert copied
            for path in " ".join(copied).split():
                assert (context / path).exists(), path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_unit_runs_a_command_that_leukoscope_takes(unit: Path) -> None:
    command = re.search(
        r"^ExecStart=/opt/leukoscope/current/venv/bin/leukoscope (.+)$", unit.read_text(), re.M
    )
    assert command is not None
    make_parser().parse_args(shlex.split(command[1]))
    assert "Restart=always" in unit.read_text()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_every_unit(unit: Path, tmp_path: Path) -> None:
    name = unit.name.replace("@", "@1")
    text = unit.read_text().replace("/opt/leukoscope/current/venv/bin/leukoscope", "/bin/true")
    (tmp_path / name).write_text(re.sub("^EnvironmentFile=", "EnvironmentFile=-", text, flags=re.M))
    checked = subprocess.run(
        [program("systemd-analyze"), "verify", tmp_path / name], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr
    assert name not in checked.stderr, checked.stderr


def test_prometheus_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    promtool = program("promtool")
    for arguments in (["check", "rules", RULES], ["test", "rules", RULES.with_suffix(".test.yml")]):
        done = subprocess.run(
            [promtool, *arguments], cwd=RULES.parent, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


def exported(folder: Path) -> set[str]:
    """The names of the metrics that a box exports."""
    metrics = pytest.importorskip("prometheus_client.metrics_core")
    assert metrics
    outbox = Outbox(folder / "outbox.db")
    outbox.accept(make_record())  # one waits, so that it has an age
    outbox.flush()
    health = Health(outbox, folder, ModelReference(name="m", sha256="ab"), Restarts())
    found = {family.name for family in health.metrics("connected, MQTT 5")}
    outbox.close()
    return found


def used_metrics() -> Iterator[str]:
    """The metrics that alerts and dashboard ask for."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield from re.findall(r"leukoscope_\w+", target["expr"])
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield from re.findall(r"leukoscope_\w+", rule["expr"])


def test_alerts_and_dashboard_ask_for_metrics_that_a_box_has(tmp_path: Path) -> None:
    known = exported(tmp_path)
    used = {re.sub("_(total|bucket|sum|count)$", "", name) for name in used_metrics()}
    assert len(used) > 10
    assert used - known - {"leukoscope_temperature_celsius"} == set()  # no sensor on this machine


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= dashboard.keys()
    panels = dashboard["panels"]
    assert "not a diagnosis" in panels[0]["options"]["content"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${source}"
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"source", "box"}
