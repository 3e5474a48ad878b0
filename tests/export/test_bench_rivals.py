"""`leukoscope bench --rivals`: every way goes to the broker's acknowledgement, and says what it leaves out."""

import json

import pytest

from edge.cli.main import main
from edge.mqtt.brokers import local

pytest.importorskip("onnx", reason="pip install 'leukoscope[bench]'")


def test_each_way_is_timed_beside_the_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rivals", "--runs", "4", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    ways = {row["way"]: row for row in results["ways"]}
    ours = ways["leukoscope: frame, disk, PUBACK"]
    assert ours["ratio"] == 1 and ours["leaves_out"] == ""
    plain = [row for name, row in ways.items() if name.startswith("plain script, ")]
    assert len(plain) + len(results["missing"]) == 3
    synced = ways["the first plain script, a line synced to a file first"]
    for row in plain:
        assert "durability" in row["leaves_out"]
    assert "durability" not in synced["leaves_out"] and "gap-free" in synced["leaves_out"]
    for row in ways.values():
        assert 0 < row["ms"]["min"] <= row["ms"]["p50"] <= row["ms"]["max"]


def test_people_read_what_each_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rivals", "--runs", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("BUSY MACHINE")]
    assert "leaves out" in lines[1]
    assert any("plain script, LiteRT" in line and "gap-free numbers" in line for line in lines)


def test_a_broker_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rivals", "--runs", "1", "--deliver", f"192.0.2.1:{local.free_port()}"]) == 1
    assert "192.0.2.1" in capsys.readouterr().err
