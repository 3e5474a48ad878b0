"""What strangers wrote, on a terminal, in a table and in the log: shown, never obeyed; and it fits the screen."""

import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import time

import pytest
from broker import make_record
from rich.console import Console

from edge.cli.main import main
from edge.errors import InputError
from edge.logger.command import JsonLines, Lines
from edge.logger.live import LiveTable
from edge.logger.moments import local, zone
from edge.logger.results import span_s
from edge.logger.stores.sinks import open_sink

HOSTILE = [
    "[/x]",
    "[bold",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "a\nERROR forged",
    "\u202eLLA",
    "[link=http://x]y[/link]",
]


def drawn(records, width=120, height=30, target="sqlite:////results.db"):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system="standard"
    )
    table = LiveTable(target, lambda: "connected, MQTT 5", console)
    for record, new in records:
        table.stored(record, new)
    console.print(table)
    return console.file.getvalue()


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_any_field_is_drawn_as_text(text):
    record = make_record(device=text, captured_at=text, specimen=text, source=text, probabilities={text: 1.0})
    shown = drawn([(record, True)], width=300)
    assert len(plain(shown).splitlines()) < 30
    assert not set(plain(shown)) & set("\x1b\x9b\x07\u202e")
    assert "[/x]" in shown or text != "[/x]"
    Lines().stored(record, True)


def test_one_line_per_result_whatever_stands_in_it(capsys):
    for text in HOSTILE:
        Lines().stored(make_record(device=text, captured_at=text), False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(HOSTILE) and not any(set(line) & set("\x1b\x9b\x07\u202e") for line in lines)


def test_a_verdict_is_a_strangers_text_too(capsys):
    for text in HOSTILE:
        Lines().stored(make_record(verdict=text, probabilities={text: 1.0}), True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(HOSTILE) and not any(set(line) & set("\x1b\x9b\x07\u202e") for line in lines)


@pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 24), (200, 60), (60, 12)])
def test_the_table_fits_the_height_with_the_totals_on_top(width, height):
    records = [
        (
            make_record(device=f"box-{n % 9}", sequence=n, specimen=f"slide {n % 9}", source="x" * 90),
            n % 5 > 0,
        )
        for n in range(500)
    ]
    lines = plain(drawn(records, width, height)).splitlines()
    assert len(lines) < height and max(map(len, lines)) <= width
    assert "400 stored" in " ".join(lines[:4]) and "100 duplicates" in " ".join(lines[:4])
    head = next(n for n, line in enumerate(lines) if "share ALL" in line or "share" in line)
    assert head < 6
    if height > 20:
        assert any("captured" in line for line in lines[head + 2 :]) and "499" in "\n".join(lines[-3:])


@pytest.mark.parametrize("width", [80, 100])
def test_a_long_path_takes_no_line_of_its_own_and_keeps_its_end(width):
    target = "sqlite:////" + "laboratory/" * 10 + "results.db"
    lines = plain(drawn([(make_record(), True)], width, target=target)).splitlines()
    assert lines[1].startswith("1 stored") and lines[1].endswith("laboratory/results.db")
    assert "┏" in lines[2]


def test_cells_that_are_not_lymphoid_are_counted_apart():
    shown = plain(drawn([(make_record(verdict="refer", kind="other"), True), (make_record(), True)]))
    (line,) = [line for line in shown.splitlines() if "100%" in line]
    assert [part.strip() for part in line.strip("│┃ ").split("│")][2:] == ["1", "0", "0", "1", "100%"]


def test_names_without_end_fill_no_memory():
    table = LiveTable("x", str, Console(file=io.StringIO()))
    for n in range(3000):
        table.stored(make_record(specimen=f"s{n}"), True)
    assert len(table._totals) <= 1000


def test_moments_are_local_and_what_is_none_is_shown_as_text(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert local("2026-01-01T00:00:00.000000Z") == "2026-01-01 05:30:00"
        assert zone() == "IST (UTC+05:30)"
        for text in ("[/x]", "", "9999-12-31T23:59:59Z", "2026-13-01T00:00:00Z"):
            assert local(text) == text or text.startswith("9999")
        assert local("\x1b[2J") == "\\x1b[2J"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def database(tmp_path):
    sink = open_sink(f"sqlite:///{tmp_path / 'r.db'}")
    records = [
        make_record(sequence=n, device=text, specimen=text, captured_at=text)
        for n, text in enumerate(HOSTILE)
    ]
    records.append(
        make_record(specimen="=HYPERLINK(1)", device="@x", verdict="refer", kind="other", probabilities={})
    )
    records.append(make_record(specimen="slide 7", captured_at="2026-01-01T10:00:00.000000Z"))
    sink.store(records, [])
    sink.close()
    return f"sqlite:///{tmp_path / 'r.db'}"


def test_results_show_hostile_text_as_text_plain_and_on_a_terminal(database, capsys):
    assert main(["results", database]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 + len(HOSTILE) + 2
    assert not set(out) & set("\x1b\x9b\x07\u202e")
    assert zone() in out and "mean p(ALL)" in out
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "results", database],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "160", "TERM": "xterm", "TZ": "Asia/Kolkata"},
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    assert process.wait(40) == 0
    text = shown.decode()
    assert "2026-01-01 15:30" in text and "IST (UTC+05:30)" in text and "┃" in text and "[/x]" in text
    assert "\x1b[2J" not in text and "\u202e" not in text


def test_results_count_other_and_give_p_all(database, capsys):
    assert main(["results", database, "--json", "--device", "@x"]) == 0
    (total,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (total["results"], total["counts"]) == (1, {"ALL": 0, "HEM": 0, "refer": 0, "other": 1})
    assert (total["specimen"], total["mean_probability"]) == ("=HYPERLINK(1)", None)
    assert main(["results", database, "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    by_specimen = {row["specimen"]: row for row in rows}
    assert by_specimen["slide 7"]["p_all"] == "0.9"
    assert by_specimen["'=HYPERLINK(1)"]["p_all"] == "" and by_specimen["'=HYPERLINK(1)"]["device"] == "'@x"


RANGES = ["99999999999999999999d", "1e9d", "-1h", "0s", "nan", "inf", "1x", "", "36501d", "1h\n", "١h"]


@pytest.mark.parametrize("text", RANGES)
def test_a_span_out_of_range_is_named(text):
    with pytest.raises(InputError, match="--last"):
        span_s(text)


def test_spans():
    assert (span_s("90s"), span_s("1.5h"), span_s("36500d")) == (90, 5400, 36500 * 86400)


def test_the_longest_span_is_answered(database, capsys):
    assert main(["results", database, "--last", "36500d", "--json"]) == 0
    assert main(["results", database, "--last", "99999999999999999999d"]) == 2
    assert main(["results", database, "--specimen", "a\0b"]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["results", database, "--csv", "/no/such/folder/x.csv"])
    assert "Traceback" not in capsys.readouterr().err


def test_a_database_that_no_logger_of_today_has_opened_is_answered(tmp_path, capsys):
    file = tmp_path / "old.db"
    sink = open_sink(f"sqlite:///{file}")
    sink.store([make_record(specimen="old")], [])
    sink.close()
    with sqlite3.connect(file) as old:
        for column in ("field", "kind"):
            old.execute(f"ALTER TABLE cells DROP COLUMN {column}")
        old.execute("UPDATE leukoscope_schema SET version = 2")
    assert main(["results", f"sqlite:///{file}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["ALL"] == 1
    assert main(["results", f"sqlite:///{file}", "--csv", "-"]) == 0
    assert "old" in capsys.readouterr().out


def test_results_that_are_not_there_are_said_with_what_was_asked(database, capsys):
    assert main(["results", database, "--specimen", "nobody", "--last", "1h"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no results of specimen nobody of the last 1h in sqlite:" in shown.err


def test_results_limit_keeps_the_newest_and_quiet_says_nothing_more(database, capsys):
    assert main(["results", database, "--specimen", "slide 7", "--limit", "1", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    head, row = shown.out.splitlines()
    assert head.split()[:6] == ["specimen", "results", "ALL", "HEM", "refer", "other"]
    assert row.startswith("slide 7")
    assert main(["results", database, "--limit", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("width", [60, 80])
def test_the_live_table_tells_one_cell_from_the_next(width):
    table = LiveTable("x", str, Console(file=io.StringIO(), width=width, height=24))
    for n in range(3):
        path = f"/data/a/long/way/to/the/cells/all/{n}_UID_45_24_11_all.png"
        table.stored(make_record(sequence=n, source=path, specimen="slide 7"), True)
    screen = Console(file=io.StringIO(), width=width, height=24)
    screen.print(table)
    shown = screen.file.getvalue()
    assert all(len(line) <= width for line in shown.splitlines())
    if width == 80:
        assert all(f"│ {n}_UID" in shown for n in range(3))
    else:
        assert "source" not in shown
        assert "│ │" not in shown  # no column without room


@pytest.mark.parametrize("text", [text for text in HOSTILE if not text.startswith("[")])
def test_the_classes_of_a_strangers_records_do_not_steer_the_terminal(text, tmp_path, capsys):
    database = f"sqlite:///{tmp_path}/results.db"
    sink = open_sink(database)
    sink.store(
        [make_record(verdict=text, probabilities={text: 0.9, "b": 0.1}, specimen=text, source=text)], []
    )
    sink.close()
    for options in ([], ["--json"], ["--by", "device"]):
        assert main(["results", database, *options]) == 0
    JsonLines().stored(make_record(source=text), True)
    assert not set(capsys.readouterr().out) & set("\x1b\x9b\x07\u202e")
