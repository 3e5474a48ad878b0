"""The guarded entry: streams that are closed, full or of another encoding, early signals, mistyped words."""

import argparse
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ENVIRONMENT, LEUKOSCOPE, ROOT, SAMPLES, clean, leukoscope

from edge.cli.parser import GROUPS, make_parser

ONE = SAMPLES / "all"


def shell(text: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A shell line in which $L is the command."""
    command = " ".join(f"'{word}'" for word in LEUKOSCOPE)
    return subprocess.run(
        ["bash", "-c", text.replace("$L", command)],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_help_prints_on_a_terminal_of_another_encoding(encoding: str) -> None:
    for words in (["--help"], ["log", "--help"], ["bench", "--help"]):
        done = leukoscope(*words, env={"PYTHONIOENCODING": encoding}, text=False)
        assert done.returncode == 0 and b"Traceback" not in done.stderr


def test_json_stays_json_in_another_encoding(tmp_path: Path) -> None:
    name = "Zellé–\U0001f52c.png"
    (tmp_path / name).write_bytes(next(ONE.iterdir()).read_bytes())
    done = leukoscope("classify", name, "--json", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}, text=False)
    assert json.loads(done.stdout.decode("ascii"))["source"] == name


@pytest.mark.parametrize("words", ["classify samples/cells --json", "--help", "model list", "check --help"])
def test_a_full_disk_behind_standard_output_is_one_line(words: str) -> None:
    done = shell(f"$L {words} >/dev/full")
    assert "No space left on device" in clean(done, 1)


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_closed_streams_cost_nothing(closed: str, tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    for image in list(ONE.iterdir())[:2]:
        (tmp_path / "cells" / image.name).write_bytes(image.read_bytes())
    (tmp_path / "leukoscope.toml").write_text(
        f'[camera]\nsource = "files:{tmp_path}/cells"\n[mqtt]\nport = 9\n[outbox]\nfile = "{tmp_path}/state/outbox.db"\n'
    )
    done = shell(f"timeout 10 $L run --config leukoscope.toml {closed}; echo status $? >status", cwd=tmp_path)
    assert done.returncode == 0
    # The broker is not there: the daemon waits for it until it is stopped, and ends in order.
    assert (tmp_path / "status").read_text() in ("status 124\n", "status 0\n")
    database = (tmp_path / "state" / "outbox.db").read_bytes()
    assert database.startswith(b"SQLite format 3\x00")
    assert b"INFO" not in database


def test_a_closed_pipe_is_no_fault() -> None:
    done = shell("set -o pipefail; $L model list | head -1")
    assert clean(done, 0) == "" or "sha256" in done.stdout


STOP_WHILE_LOADING = """
import importlib, os, signal, sys
real = importlib.import_module
def load(name, *rest):
    if name.startswith("edge."):
        os.kill(os.getpid(), signal.{signal})
    return real(name, *rest)
importlib.import_module = load
from edge.cli.main import main
sys.argv[1:] = {words}
sys.exit(main())
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["run", "--config", "x.toml"], 0),
        (["demo"], 0),
        (["log", "--broker", "mqtt://h"], 0),
        (["model", "list"], 130),
    ],
)
def test_a_signal_before_the_command_has_loaded_ends_it_in_order(
    number: str, words: list[str], status: int, tmp_path: Path
) -> None:
    program = STOP_WHILE_LOADING.format(signal=number, words=words)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    clean(done, status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.3])
def test_a_signal_in_the_first_moments_ends_a_service_in_order(
    delay_s: float, number: signal.Signals, tmp_path: Path
) -> None:
    (tmp_path / "leukoscope.toml").write_text(
        f'[mqtt]\nport = 9\n[outbox]\nfile = "{tmp_path}/o/outbox.db"\n'
    )
    # Before the interpreter has run a line of ours, its own answer to a signal holds.
    program = (
        "import sys; sys.path.pop(0); from edge.cli.main import main, leave_on_signal; leave_on_signal(0); "
        "print('begun', flush=True); sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(delay_s)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def interrupted(words: list[str], line: str, cwd: Path) -> tuple[int, str]:
    """Exit status and standard error after Ctrl-C at the first line of output that holds `line`."""
    process = subprocess.Popen(
        [*LEUKOSCOPE, *words],
        cwd=cwd,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for text in process.stdout:
        if line in text:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_ctrl_c_in_classify_names_what_is_unfinished_and_keeps_what_was_done(tmp_path: Path) -> None:
    for copy in range(40):
        (tmp_path / f"copy{copy}").symlink_to(SAMPLES)
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    status, err = interrupted(["classify", *folders, "--csv", str(tmp_path / "t.csv")], "ALL", tmp_path)
    assert status == 130
    assert "of 1600 images are classified" in err
    rows = (tmp_path / "t.csv").read_text("utf-8-sig").splitlines()
    assert 1 < len(rows) < 1601


def test_ctrl_c_in_bench_is_130(tmp_path: Path) -> None:
    words = ["bench", "--model", "mobilenet_m_0_25_128", "--threads", "1,1,1,1", "--runs", "3000", "--json"]
    status, err = interrupted(words, "stages_ms", tmp_path)
    assert status == 130
    assert "of 4 are measured" in err


def test_a_stop_in_a_destructor_is_not_lost() -> None:
    program = """
import signal, time
from edge.cli.main import interrupt_on_signal

class Held:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)  # the handler runs before the destructor ends

interrupt_on_signal()
try:
    Held()
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, timeout=50
    )
    assert (ran.stdout, ran.stderr) == ("stopped\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clasify", "x"], "unknown command clasify; did you mean classify?"),
        (["classify", "x", "--jsn"], "unknown option --jsn; did you mean --json?"),
        (["model", "verfy"], "unknown action verfy; did you mean verify?"),
        (["results", "--by", "specimn"], "did you mean specimen?"),
        (["check", "extra"], "unexpected argument: extra"),
        (["classify", "\x1b[31m", "--\x1b[2Jx"], r"--\x1b[2Jx"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(words: list[str], message: str) -> None:
    err = clean(leukoscope(*words), 2)
    assert message in err and "\x1b" not in err
    assert "--help" in err


def test_version_and_no_command() -> None:
    assert leukoscope("--version").stdout.startswith("leukoscope ")
    assert "COMMAND" in clean(leukoscope(), 2)


BIG = "9" * 5000


@pytest.mark.parametrize(
    "words",
    [
        ["results", "--last", "99999999999999999999d"],
        ["results", "--last", BIG + "s"],
        ["bench", "--runs", "0"],
        ["bench", "--runs", BIG],
        ["bench", "--runs", "-1"],
        ["bench", "--threads", "1,,2"],
        ["bench", "--threads", "9999"],
        ["bench", "--frame", "0x10"],
        ["bench", "--seconds", "nan"],
        ["bench", "--seconds", "inf"],
        ["bench", "--seed", "-1"],
        ["bench", "--plot", "/nope/x.png"],
        ["demo", "--seconds", "0"],
        ["demo", "--seed", str(2**32)],
        ["classify", "x", "--limit", "0"],
        ["classify", "x", "--csv", "/nope/x.csv"],
        ["classify", "x", "--html", "/"],
        ["doctor", "--bundle", "/nope/b.tar.gz"],
        ["dataset", "split", "x", "--fold", "0", "--method", "image", "--seed", "-1"],
        ["dataset", "split", "x", "--fold", "0", "--method", "image", "--out", "/nope/x.json"],
        ["export", "run", "--out", "m.tflite", "--max-drop", "nan"],
        ["export", "run", "--out", "m.tflite", "--refer-sensitivity", "2"],
    ],
)
def test_a_value_out_of_range_is_refused_before_anything_is_done(words: list[str]) -> None:
    err = clean(leukoscope(*words), 2)
    assert len(err) < 400


def test_a_services_own_fault_is_a_line_and_not_a_restart(tmp_path: Path) -> None:
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f'[mqtt]\npassword_file = "{tmp_path}/none"\n[outbox]\nfile = "{tmp_path}/state/outbox.db"\n'
    )
    for _ in range(2):
        err = clean(leukoscope("run", "--config", config), 2)
        assert "[mqtt] password_file" in err and "restart" not in err
    assert not (tmp_path / "state" / "runs.json").exists()


def test_no_command_prints_a_librarys_noise() -> None:
    for words in (["classify", SAMPLES, "--limit", 2], ["model", "verify"], ["bench", "--runs", 2]):
        done = leukoscope(*words)
        assert done.returncode == 0
        assert "XNNPACK" not in done.stderr and "delegate" not in done.stderr


def test_colour_on_a_terminal_alone() -> None:
    plain = leukoscope("classify", ONE, "--limit", 1)
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "\x1b[31m" in on_terminal("classify", ONE, "--limit", 1)
    without = on_terminal("classify", ONE, "--limit", 1, NO_COLOR="1")
    assert "\x1b[31m" not in without and "ALL" in without


def on_terminal(*words: object, **environment: str) -> str:
    """Everything that a command writes to a terminal."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(
            sys.executable, [*LEUKOSCOPE, *map(str, words)], {**ENVIRONMENT, "TERM": "xterm", **environment}
        )
    written = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        written += data
    os.waitpid(process, 0)
    return written.decode(errors="replace")


@pytest.mark.parametrize("shell_name", ["bash", "zsh"])
def test_completion_is_a_script(shell_name: str, tmp_path: Path) -> None:
    done = leukoscope("completion", shell_name)
    assert done.returncode == 0
    assert "classify" in done.stdout and "--config" in done.stdout
    if shell_name == "bash":
        (tmp_path / "script").write_text(done.stdout)
        asked = "source ./script; COMP_WORDS=(leukoscope cla); COMP_CWORD=1; _shtab_leukoscope; echo ${COMPREPLY[@]}"
        assert (
            subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True).stdout
            == "classify\n"
        )


def test_every_command_stands_in_one_group_of_the_help() -> None:
    parser = make_parser()
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(parser.texts)
    text = parser.format_help()
    assert all(f"\n  {name} " in text for name in listed)
    assert "not a diagnosis" in text


@pytest.mark.parametrize("name", sorted(make_parser().texts))
def test_the_description_of_a_command_is_sentences(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_parser().parse_args([name, "--help"])
    description = " ".join(capsys.readouterr().out.split("\n\n")[1].split())
    assert description.endswith(".")
    assert not any(marks in description for marks in ("?.", "!.", "..", " .", ",.")), description


def test_what_is_neither_run_nor_model_is_said_so() -> None:
    err = clean(leukoscope("evaluate", "nope", "--data", SAMPLES), 2)
    assert "nope: no such run folder, no such model file, and no installed model of that name" in err


@pytest.mark.parametrize("name", sorted(make_parser().texts))
def test_a_command_that_is_asked_for_has_the_same_help_alone(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for parser in (make_parser(), make_parser(name)):
        with pytest.raises(SystemExit):
            parser.parse_args([name, "--help"])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""
    assert make_parser(name).format_help() == make_parser().format_help()


def every_parser() -> list[tuple[str, argparse.ArgumentParser]]:
    """Each command and each of its actions."""
    found: list[tuple[str, argparse.ArgumentParser]] = []
    waiting: list[argparse.ArgumentParser] = [make_parser()]
    while waiting:
        parser = waiting.pop()
        found.append((parser.prog, parser))
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return found[1:]


def test_every_option_says_what_it_is() -> None:
    parsers = every_parser()
    assert len(parsers) > 30
    silent = [
        f"{name} {action.option_strings or action.dest}"
        for name, parser in parsers
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert silent == []


def test_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = {
        f"{name}: {line}"
        for name, parser in every_parser()
        for line in parser.format_help().splitlines()
        if len(line) > 80 and not line.startswith("example: ")  # an example is copied as a whole
    }
    assert long == set()
