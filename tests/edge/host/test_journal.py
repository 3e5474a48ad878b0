"""The journal gets one readable line an event, and fields beside it."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from systemd_socket import ROOT

from edge.host.journal import JournalHandler


def parse(datagram: bytes) -> dict[str, str]:
    """Fields of one entry: NAME=text, or NAME, its length in 8 bytes, and the text."""
    fields = {}
    while datagram:
        name, separator, rest = datagram.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            datagram = rest
        else:
            key, length = name, int.from_bytes(rest[:8], "little")
            value, datagram = rest[8 : 8 + length], rest[8 + length + 1 :]
        assert separator
        fields[key.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path: Path) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(tmp_path / "journal"))
    receiver.settimeout(5)
    return receiver


def test_a_line_carries_its_fields(journal: socket.socket, tmp_path: Path) -> None:
    logger = logging.Logger("edge.test")
    logger.addHandler(JournalHandler(tmp_path / "journal"))
    logger.warning("restart %d: %s", 3, "watchdog", extra={"event": "restart", "count": 3})
    fields = parse(journal.recv(65536))
    assert fields["MESSAGE"] == "restart 3: watchdog"
    assert fields["PRIORITY"] == "4"
    assert fields["LEUKOSCOPE_EVENT"] == "restart"
    assert fields["LEUKOSCOPE_COUNT"] == "3"
    assert fields["LOGGER"] == "edge.test"
    assert fields["CODE_FUNC"] == "test_a_line_carries_its_fields"


def test_text_of_several_lines_stays_one_entry_and_cannot_forge_fields(
    journal: socket.socket, tmp_path: Path
) -> None:
    logger = logging.Logger("edge.test")
    logger.addHandler(JournalHandler(tmp_path / "journal"))
    logger.error("camera: no\nPRIORITY=7\n")
    fields = parse(journal.recv(65536))
    assert fields["MESSAGE"] == "camera: no\nPRIORITY=7\n"
    assert fields["PRIORITY"] == "3"


def test_an_overlong_line_is_cut_and_a_journal_that_is_gone_stops_nothing(
    journal: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.Logger("edge.test")
    logger.addHandler(JournalHandler(tmp_path / "journal"))
    logger.info("x" * 500_000)
    assert 10_000 < len(parse(journal.recv(1_000_000))["MESSAGE"]) < 100_000
    journal.close()
    logger.info("after it is gone")
    assert "Connection refused" in capsys.readouterr().err


def test_without_a_journal_lines_go_to_standard_error() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from edge.host import journal; journal.set_up(); import logging; logging.info('here')",
        ],
        cwd=ROOT,
        env={**os.environ, "JOURNAL_STREAM": "1:2"},  # of another stream, inherited
        capture_output=True,
        text=True,
    )
    assert done.stderr == "INFO here\n"
