"""`check`: every fault with its line, the nearest key, what is allowed; the files that the settings name."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import ENVIRONMENT, ROOT, clean, leukoscope

from edge import settings as settings_file
from edge.host.toml.lines import key_lines


def check(tmp_path: Path, text: str | bytes, status: int) -> str:
    file = tmp_path / "leukoscope.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = leukoscope("check", "--config", file.name, cwd=tmp_path)
    return clean(done, status)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '\n\n[camera]\n# a comment\nsorce = "x"\n',
            'line 5: unknown key "sorce" in [camera], did you mean "source"?',
        ),
        ("[camra]\nfps = 1\nwidth = 2\n", "line 1: unknown table [camra], did you mean [camera]?"),
        ("[camera]\nfps = -1", "line 2: [camera] fps = -1: give a number from 0 to 1000, frames per second"),
        ("[camera]\nstall_s = 0.1", "give a number from 0.5 to 3600, seconds"),
        ('[camera]\ntrigger = "setled"', '"settled"; did you mean "settled"?'),
        ("[camera]\nscale = 0", "give a number above 0 to 100"),
        ('[mqtt]\nport = "1883"', "give a whole number from 1 to 65535"),
        ("[camera]\nloop = 1", "give true or false"),
        ('[device]\nid = "box\\n"', "control character"),
        ('[device]\nid = "a b"', 'give 1 to 64 letters, digits, "_", "." or "-"'),
        ('[camera]\nspecimen = "slide\\u0000 7"', "control character"),
        ("[model]\nrefer_below = 2", "give a number from 0 to 1"),
        ("camera = 5", "line 1: camera is a table"),
        ("fps = 5", "stands before the first table"),
        ("[camera]\nfps = 2024-01-01", "a date or time"),
        ("[camera]\nfps = [1]", "a list"),
        ("[camera]\nfps = 99999999999999999999999999999999999", "a number out of all ranges"),
        ("[camera\nfps = 1", "line 1: not TOML"),
        ("[a]\nx = " + "[" * 50_000, "not TOML"),
        ("[a]\nx = " + "1" * 5_000, "a number has too many digits"),
        (b"\xff\xfe[\x00", "UTF-16"),
        ('[device]\nsite = "\xe9"'.encode("latin-1"), "line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_each_fault_is_one_line_that_helps(text: str | bytes, message: str, tmp_path: Path) -> None:
    err = check(tmp_path, text, 2)
    assert message in err
    assert len(err.splitlines()) == 1
    assert len(err) < 600


def test_a_byte_order_mark_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    check(tmp_path, b"\xef\xbb\xbf" + f'[outbox]\nfile = "{tmp_path}/o/x.db"\n'.encode(), 0)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[mqtt]\npassword_file = "{0}/none"', 2, "password_file"),
        ('[mqtt]\nca_file = "{0}"', 2, "not a regular file"),
        ('[mqtt]\nkey_file = "{0}/leukoscope.toml"', 2, "cert_file"),
        ('[camera]\nsource = "files:{0}/none"', 2, "no such file or folder"),
        ('[camera]\ncalibration = "{0}/none.npz"', 2, "calibration"),
        ('[model]\n\nfile = "{0}/none.tflite"', 3, "none.tflite"),
        ('[model]\nfile = "mobilenet_m_0_25_28"', 2, "did you mean mobilenet_m_0_25_128?"),
        ('[outbox]\nfile = "{0}"', 2, "is a folder"),
        ('[archive]\nkeep = "all"\ndirectory = "{0}/leukoscope.toml/x"', 3, "is a file"),
        ('[camera]\nsource = "rtsp://${{NOT_SET_ANYWHERE}}@h/"', 2, "NOT_SET_ANYWHERE"),
        ('[mqtt]\npassword_file = "{0}/empty"', 2, "empty"),
        ('[mqtt]\npassword_file = "{0}/two"', 2, "more than one line"),
        ('[mqtt]\npassword_file = "{0}/pipe"', 2, "not a regular file"),
    ],
)
def test_files_that_the_settings_name_are_looked_at(text: str, line: int, what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "two").write_text("a\nb\n")
    os.mkfifo(tmp_path / "pipe")
    err = check(tmp_path, text.format(tmp_path), 2)
    assert f"line {line}: " in err and what in err
    done = leukoscope("run", "--config", tmp_path / "leukoscope.toml", cwd=tmp_path)
    assert what in clean(done, 2)  # the daemon refuses it too, before anything is started


def test_the_files_of_doctor_are_those_of_check(tmp_path: Path) -> None:
    config = tmp_path / "leukoscope.toml"
    config.write_text(
        f'[mqtt]\nport = 9\npassword_file = "{tmp_path}/none"\n[outbox]\nfile = "{tmp_path}/x.db"\n'
    )
    checked = json.loads(leukoscope("check", "--config", config, "--json").stdout)
    doctor = json.loads(leukoscope("doctor", "--config", config, "--json").stdout)
    broker = next(found for found in doctor["checks"] if found["name"] == "broker")
    assert not checked["ok"] and broker["state"] == "failed"
    assert broker["message"] in checked["faults"][0]


def test_the_settings_file_is_found_where_it_usually_is(tmp_path: Path) -> None:
    assert "/etc/leukoscope/leukoscope.toml" in clean(leukoscope("check", cwd=tmp_path), 2)
    (tmp_path / "leukoscope.toml").write_text(f'[outbox]\nfile = "{tmp_path}/x.db"\n')
    done = leukoscope("check", cwd=tmp_path)
    assert clean(done, 0) == "" and done.stdout == "leukoscope.toml: valid\n"


def test_check_loads_neither_paho_nor_sqlite_nor_rich() -> None:
    program = (
        "import sys\nfrom edge.cli.main import main\n"
        "main(['check', '--config', 'systemd/leukoscope.toml'])\n"
        "print([m for m in ('paho', 'sqlite3', 'rich', 'ai_edge_litert', 'edge.daemon') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_opencv_takes_one_core_in_a_process_of_the_command_line() -> None:
    program = "import cv2\nfrom edge.cli.main import main\nmain(['classify', 'none.png'])\nprint(cv2.getNumThreads())"
    late = (
        "from edge.cli.main import main\nmain(['completion', 'bash'])\nimport cv2\nprint(cv2.getNumThreads())"
    )
    for text in (program, late):
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.splitlines()[-1] == "1", done.stderr


def test_the_daemon_starts_without_rich() -> None:
    program = "import sys, edge.cli.main, edge.cli.parser, edge.cli.run, edge.daemon.daemon\nprint('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr


def test_no_value_of_the_settings_is_quoted_where_a_secret_may_stand(tmp_path: Path) -> None:
    for text in (
        '[camera]\nsource = "rtsp:/eva:Geheim-42@10.0.0.7/1"',
        '[mqtt]\npassword = "Geheim-42"',
        '[camera]\nsource = "rtsp://eva:Geheim-42@10.0.0.7/1"\nfps = "Geheim-42"',
        '[mqtt]\nusername = "Geheim-42',
    ):
        assert "Geheim" not in check(tmp_path, text, 2)


def test_lines_of_keys_are_found_around_strings_and_arrays() -> None:
    text = (
        '# [not]\n[a]\nx = """\n[b]\ny = 1\n"""\ny = [\n 1, # ]\n 2,\n]\n"q k".r = \'#\'\n\n  [ b . c ]\nz = {m = 1, n = "}"}\n'
        "s = '''\n'''\nlast = 2\n"
    )
    lines = key_lines(text)
    assert lines[("a",)] == 2 and lines[("a", "x")] == 3 and lines[("a", "y")] == 7
    assert lines[("a", "q k")] == lines[("a", "q k", "r")] == 11
    assert lines[("b", "c")] == 13 and lines[("b", "c", "z")] == 14 and lines[("b", "c", "last")] == 17
    assert ("b",) not in lines and lines.place("b", "c", "nothing") == ", line 13"


def test_every_key_of_the_example_has_a_line_and_is_valid() -> None:
    file = ROOT / "systemd" / "leukoscope.toml"
    settings, lines = settings_file.load_with_lines(file)
    assert settings == settings_file.Settings()
    assert file.read_text().splitlines()[lines[("mqtt", "port")] - 1].startswith("port = 1883")


def test_check_is_quick() -> None:
    began = time.monotonic()
    leukoscope("check", "--config", "systemd/leukoscope.toml")
    assert time.monotonic() - began < 10  # 0.2 s on an idle machine
