"""Options that every command has: --quiet everywhere, --json wherever there is a result, and what they leave out."""

import argparse
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ROOT, SAMPLES, clean, leukoscope

from edge.cli.parser import make_parser

SERVICES = {"run", "web"}
"""Their output is a log and a page."""

LIMITED = {"classify", "bench", "results", "train", "evaluate", "compare", "export"}
"""Commands that go through images, or show many lines."""

SEEDED = {"demo", "bench", "train", "evaluate", "dataset split"}
"""Commands that draw at random."""


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command and action with its options."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield name, {option for action in parser._actions for option in action.option_strings}
    for action in inner:
        for word, each in action.choices.items():
            yield from commands(each, f"{name} {word}".strip())


OPTIONS = dict(commands(make_parser()))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_command_has_the_options_that_all_have(name: str) -> None:
    known = OPTIONS[name]
    assert ("--quiet" in known) == (name != "completion")
    assert ("--json" in known) == (name not in SERVICES | {"completion"})
    assert ("--limit" in known) == (name in LIMITED)
    assert ("--seed" in known) == (name in SEEDED)


def test_no_command_was_overlooked() -> None:
    assert {"train", "export", "model back", "review import", "dataset verify", "run"} <= OPTIONS.keys()
    assert len(OPTIONS) == 33


@pytest.mark.parametrize("words", ["train", "export", "model sign", "review export"])
def test_the_shell_completes_them(words: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(leukoscope("completion", "bash").stdout)
    line = f"leukoscope {words} --qui"
    asked = f"source ./script; COMP_WORDS=({line}); COMP_CWORD={len(line.split()) - 1}; "
    asked += "_shtab_leukoscope; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "--quiet\n"


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder with a valid settings file whose files are all there, and a model that is another once it is signed."""
    runs = next((ROOT / "models").glob("*.tflite"))
    shutil.copy(runs, tmp_path / "ours.tflite")
    (tmp_path / "leukoscope.toml").write_text(
        f'[device]\nid = "box-1"\n[model]\nfile = "{runs}"\ndirectory = "{tmp_path}/models"\n'
        f'[camera]\nsource = "simulator"\n[outbox]\nfile = "{tmp_path}/outbox.db"\n'
        f'[archive]\ndirectory = "{tmp_path}/archive"\n[web]\ndatabase = "sqlite:///{tmp_path}/results.db"\n'
    )
    return tmp_path


STEPS = [
    "model verify ours.tflite",
    "model keygen laboratory.key",
    "model sign ours.tflite --key laboratory.key --counter 7",
    "model install ours.tflite",
    "backup --out box.tar",
    "restore box.tar --check",
]
"""In this order: each finds what the one before has made."""


def test_quiet_commands_say_nothing_where_all_went_well(box: Path) -> None:
    for step in STEPS:
        done = leukoscope(*step.split(), "--quiet", cwd=box)
        assert clean(done, 0) == "", step
        assert done.stdout == "", step
    assert (box / "box.tar").stat().st_size > 1000 and (box / "laboratory.key.pub").exists()


def test_json_is_one_document_and_nothing_else(box: Path) -> None:
    told = []
    for step in STEPS:
        done = leukoscope(*step.split(), "--json", cwd=box)
        clean(done, 0)
        told.append(json.loads(done.stdout))
    assert told[0]["valid"] is True and told[2]["counter"] == 7
    checked = told[-1]
    assert checked["whole"] is True and checked["device"] == "box-1"
    assert checked["files"] == len(told[-2]["members"])


def test_quiet_json_still_prints_the_document(box: Path) -> None:
    done = leukoscope("model", "list", "--json", "--quiet", cwd=box)
    assert clean(done, 0) == ""
    assert all(row["sha256"] for row in json.loads(done.stdout))


def test_quiet_keeps_errors_and_warnings(box: Path) -> None:
    done = leukoscope("model", "verify", "no-such-model", "--quiet", cwd=box)
    assert "no-such-model" in clean(done, 2)
    settings = box / "leukoscope.toml"
    settings.write_text(settings.read_text() + '[mqtt]\nca_file = "/no/such/authority.crt"\n')
    done = leukoscope("check", "--quiet", cwd=box)
    assert done.returncode != 0 or "Warning: " in done.stderr
    assert "/no/such/authority.crt" in done.stderr and done.stdout == ""


def test_a_quiet_process_does_not_quiet_the_next_command(
    box: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge.cli.main import main

    monkeypatch.chdir(box)
    assert main(["check", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["check"]) == 0
    assert "leukoscope.toml: valid" in capsys.readouterr().out


def test_a_quiet_split_prints_the_table_that_was_asked_for(tmp_path: Path) -> None:
    data = shutil.copytree(SAMPLES, tmp_path / "cells")
    done = leukoscope("dataset", "split", data, "--method", "image", "--quiet", cwd=tmp_path)
    assert clean(done, 0) == "" and done.stdout.startswith("train ")


def test_a_quiet_demo_has_no_log_of_its_daemon(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "hem", tmp_path / "cells")
    words = ["demo", "--images", "cells", "--no-web", "--to", "sqlite:///r.db", "--quiet"]
    done = leukoscope(*words, cwd=tmp_path)
    assert "INFO" not in clean(done, 0)
    assert "results stored, no duplicates" in done.stdout  # what a demo is asked for
    told = leukoscope("demo", *words[1:], "--json", cwd=tmp_path)
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert lines[-1]["stored"] == len(lines) - 1 == lines[-1]["accepted"]
