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
