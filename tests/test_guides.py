"""Every leukoscope command in the guides is one that the program takes; figures and pages that they name are there.

The board's tests run those of the installation for real (tests/board/guide.py).
"""

import re
import shlex
from pathlib import Path

import pytest

from edge.cli.parser import make_parser

ROOT = Path(__file__).resolve().parents[1]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```", re.S | re.M)
_INLINE = re.compile(r"`((?:sudo )?leukoscope [^`\n]+)`")
_COMMAND = re.compile(r"^(?:\$ |\d+ \d+ \* \* \* root )?(?:sudo )?(leukoscope .*)$")
_SHORT = ("…", "...", "[", "|", "COMMAND")  # the form of a command, not one


def commands(guide: Path) -> list[str]:
    """The commands of a guide, continued lines joined, comments left out."""
    text = guide.read_text(encoding="utf-8")
    lines = [
        line.strip() for block in _BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += _INLINE.findall(re.sub(_BLOCK, "", text))
    found = [match[1] for line in lines if (match := _COMMAND.match(line))]
    return [command for command in found if not any(part in command.partition(" #")[0] for part in _SHORT)]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_command_is_one_that_the_program_takes(
    guide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # files to write are named without a folder
    for command in commands(guide):
        words = shlex.split(command, comments=True)[1:]
        # One word alone is the name of a command, in a sentence.
        if len(words) > 1 and not set(words) & {"--help", "--version", ">", ";", "&&"}:
            try:
                make_parser().parse_args(words)
            except SystemExit:
                pytest.fail(f"{guide.name}: {command}")


def test_there_are_commands_to_look_at() -> None:
    assert sum(len(commands(guide)) for guide in GUIDES) > 60


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_what_a_guide_points_to_is_there(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", guide.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (guide.parent / target).exists(), f"{guide.name}: {target}"


_MARKED = re.compile(r"\((?:not run|hardware)\)")
RUN_BY = {
    r"(?:sudo (?:-u leukoscope )?)?leukoscope ": "the test above takes each, the board runs those of install.md",
    r"(?:sudo )?\./systemd/(?:un)?install\.sh": "tests/systemd, tests/board",
    r"(?:sudo )?systemctl (?:(?:try-)?re)?(?:start|stop|status|daemon-reload)(?: leukoscope[-a-z]*)*$": "tests/board",
    r"systemctl daemon-reload$": "tests/board",
    r"sudo install -m 640 -g leukoscope /dev/null ": "tests/board/guide.py",
    r"mosquitto_sub |sudo chown mosquitto: /etc/mosquitto/certs|for unit in |ls /opt/|sudo ln -sfn versions/": "tests/board",
    r"sudo cp (?:-r )?(?:/opt/leukoscope|fleet)/|cp fleet/mosquitto/acl|echo .*\| sudo tee ": "copies; tests/fleet does the same in a folder",
    r"promtool check config|fleet/certificates\.sh|mosquitto_passwd ": "tests/fleet",
    r"python (?:subscriber|capture)\.py": "tests/test_examples.py",
    r"make (?:demo|test|deb|bundle|board|board-test|deb-test|rivals|family|soak|bench-check|pythons|long-test|arm64-parity|lint)\b": "the Makefile's own",
}
"""What begins so in a guide is run, and where."""


def shell_lines(guide: Path) -> list[str]:
    """What a guide has to be typed: the lines with a `$`, and those of other blocks that begin with a program's name."""
    text = guide.read_text(encoding="utf-8")
    lines = [
        line.strip() for block in _BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()
    ]
    begins = ("$ ", "sudo ", "make ", "docker ", "promtool ", "mosquitto_")
    return [line.removeprefix("$ ") for line in lines if line.startswith(begins)]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_every_line_to_type_is_run_somewhere_or_marked(guide: Path) -> None:
    run = re.compile("|".join(RUN_BY))
    unmarked = [
        line
        for line in shell_lines(guide)
        if not _MARKED.search(line) and not run.match(line.partition("  #")[0].strip())
    ]
    assert unmarked == []


def test_there_are_lines_to_type() -> None:
    assert sum(len(shell_lines(guide)) for guide in GUIDES) > 60
