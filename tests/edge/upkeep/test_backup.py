"""Backup, restore and erase as a laboratory does them, and killed in the middle."""

import hashlib
import io
import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest
from broker import make_record

pytest.importorskip("sqlalchemy")
from edge.logger import reviews
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.outbox.queue import Outbox
from edge.records import ImageReference, decode_record
from edge.specimen import tally
from edge.upkeep.backup import MANIFEST
from edge.upkeep.restore import verify

ROOT = Path(__file__).resolve().parents[3]
DAY = "2026-11-20"
PICTURE_BYTES = 20_000


class Box:
    """A box's folders with results, reviews and pictures of some specimens."""

    def __init__(self, folder: Path, port: int = 1):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "leukoscope.toml"
        self.database = f"sqlite:///{folder}/results/results.db"
        self.archive = folder / "archive"
        self.text = (
            f'[device]\nid = "box-1"\nsite = "laboratory 1"\n[mqtt]\nport = {port}\n[outbox]\nfile = "{folder}/outbox.db"\n'
            f'[archive]\ndirectory = "{self.archive}"\nkeep = "all"\n[web]\ndatabase = "{self.database}"\n'
        )

    def fill(self, specimens: dict[str, int], start: int = 0) -> "Box":
        """Settings, and so many cells of each specimen, each with its picture and a review."""
        self.config.write_text(self.text)
        (self.folder / "results").mkdir(exist_ok=True)
        (self.archive / DAY).mkdir(parents=True, exist_ok=True)
        records, number = [], start
        for specimen, cells in specimens.items():
            for _ in range(cells):
                number += 1
                record = make_record(
                    device="box-1", sequence=number, specimen=specimen, captured_at=f"{DAY}T10:00:00.000000Z"
                )
                data = hashlib.sha256(record.id.encode()).digest() * (PICTURE_BYTES // 32)
                name = f"{DAY}/{record.id}.png"
                (self.archive / name).write_bytes(data)
                image = ImageReference(name=name, sha256=hashlib.sha256(data).hexdigest())
                values = {field: getattr(record, field) for field in record.__struct_fields__}
                records.append(type(record)(**{**values, "image": image}))
        sink = open_sink(self.database)
        sink.store(records, [])
        sink.close()
        results = Results(self.database)
        for record in records:
            reviews.add(
                results,
                reviews.Review(cell=record.id, label="HEM", reviewer="Ada", at="2026-11-21T10:00:00Z"),
            )
        results.close()
        return self

    def rows(self, table: str) -> list[tuple]:
        with sqlite3.connect(self.folder / "results" / "results.db") as db:
            return sorted(db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)

    def state(self) -> dict[str, object]:
        """Everything that a restore brings back."""
        return {
            "settings": self.config.read_text(),
            "cells": self.rows("cells"),
            "reviews": self.rows("reviews"),
            "pictures": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in self.archive.glob("*/*.png")
            },
        }

    def holds(self, text: str) -> list[Path]:
        """Files of the box in whose bytes the text stands."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return [path for path in files if text.encode() in path.read_bytes()]


def leukoscope(*arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def move_away(box: Box) -> None:
    """A new card: nothing of the box is there any more."""
    box.folder.rename(box.folder.with_name("lost"))
    box.folder.mkdir()


def test_everything_comes_back_on_an_empty_disk(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 3, "slide 8": 2})
    before = box.state()
    out = tmp_path / "box-1.tar"
    said = leukoscope("backup", "--config", box.config, "--out", out).stdout
    assert "5 cells, 0 fields, 5 reviews, 5 pictures of box-1" in said
    assert out.stat().st_mode & 0o777 == 0o600
    assert "whole; box-1" in leukoscope("restore", out, "--check").stdout
    move_away(box)
    leukoscope("restore", out)
    assert box.state() == before
    again = json.loads(leukoscope("restore", out, "--json").stdout)
    assert (again["results"], again["pictures"]) == ({"cells": 0, "fields": 0, "reviews": 0}, 0)
    assert box.state() == before


def test_what_is_newer_than_the_backup_stays(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 3})
    out = tmp_path / "box-1.tar"
    leukoscope("backup", "--config", box.config, "--out", out)
    box.fill({"slide 9": 2}, start=3)
    box.config.write_text(box.text.replace("laboratory 1", "laboratory 2"))
    now = box.state()
    leukoscope("restore", out)
    after = box.state()
    assert (after["cells"], after["pictures"], after["reviews"]) == (
        now["cells"],
        now["pictures"],
        now["reviews"],
    )
    assert 'site = "laboratory 1"' in box.config.read_text()
    assert "laboratory 2" in box.config.with_name("leukoscope.toml.before-restore").read_text()


@pytest.mark.parametrize("damage", ["cut", "altered", "foreign", "link"])
def test_a_backup_that_is_not_whole_changes_nothing(tmp_path: Path, damage: str) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 3})
    out = tmp_path / "box-1.tar"
    leukoscope("backup", "--config", box.config, "--out", out)
    data = bytearray(out.read_bytes())
    if damage == "cut":
        out.write_bytes(data[: len(data) // 2])
    elif damage == "altered":
        place = data.index(hashlib.sha256(box.rows("cells")[0][1].encode()).digest())
        data[place] ^= 1
        out.write_bytes(data)
    elif damage == "foreign":
        with tarfile.open(out, "w") as tar:
            tar.add(box.config, "../../etc/passwd")
    else:
        with tarfile.open(out, "w") as tar:
            link = tarfile.TarInfo("pictures/a/b.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
    move_away(box)
    said = leukoscope("restore", out, status=2).stderr
    assert "backup" in said
    assert list(box.folder.iterdir()) == []


KILLED = """
import importlib, os, signal, sys
place, count = sys.argv.pop(1), int(sys.argv.pop(1))
module = importlib.import_module(place.rpartition(".")[0])
name = place.rpartition(".")[2]
real, calls = getattr(module, name), [0]
def counted(*given, **named):
    calls[0] += 1
    if calls[0] == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)
setattr(module, name, counted)
from edge.cli.main import main
sys.exit(main())
"""


def killed(place: str, count: int, *arguments: object) -> None:
    """Run a command that is killed (-9) when a function of it is called for the so-manieth time."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, place, str(count), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        timeout=90,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("edge.upkeep.backup._add", 1),
        ("edge.upkeep.backup._add", 20),
        ("edge.upkeep.backup._copy_results", 1),
        ("edge.upkeep.backup.flush_folder", 1),
    ],
)
def test_a_kill_in_a_backup_leaves_the_one_before_or_the_new_one(
    tmp_path: Path, place: str, count: int
) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 40})
    out = tmp_path / "backups" / "box-1.tar"
    out.parent.mkdir()
    command = ("backup", "--config", box.config, "--out", out)
    leukoscope(*command)
    first = verify(out)
    killed(place, count, *command)
    renamed = place.endswith("flush_folder")
    after = verify(out)  # whole, whichever it is
    assert (after.made_at != first.made_at) == renamed
    assert len(after.members) == 43
    leukoscope(*command)
    assert [path.name for path in out.parent.iterdir()] == ["box-1.tar"]


@pytest.mark.parametrize(
    ("place", "count", "stored"),
    [
        ("edge.upkeep.restore.replace_file", 1, 0),
        ("edge.upkeep.restore.replace_file", 15, 0),
        ("edge.upkeep.restore._rows", 1, 0),
        ("edge.upkeep.restore._pages", 2, 0),  # cells are written, in a transaction that has not ended
        ("edge.upkeep.restore.restore_models", 1, 30),
        ("edge.upkeep.restore._settings", 1, 30),
        ("edge.upkeep.restore.replace_file", 31, 30),  # the settings
    ],
)
def test_a_kill_in_a_restore_leaves_a_state_that_works_and_the_same_command_finishes_it(
    tmp_path: Path, place: str, count: int, stored: int
) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 30})
    before = box.state()
    out = tmp_path / "box-1.tar"
    leukoscope("backup", "--config", box.config, "--out", out)
    move_away(box)
    killed(place, count, "restore", out)
    with sqlite3.connect(box.folder / "results" / "results.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM cells").fetchone() == (stored,)
    for picture in box.archive.glob("*/*.png"):
        assert hashlib.sha256(picture.read_bytes()).hexdigest() == before["pictures"][picture.name]
    assert not box.config.exists()  # it comes last
    leukoscope("restore", out)
    assert box.state() == before
    leftovers = [path for path in box.folder.rglob("*") if path.name.endswith(".partial")]
    assert leftovers == []


def test_a_specimen_is_erased_everywhere(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"patient Maier": 3, "slide 8": 2})
    old_backup = tmp_path / "old.tar"
    leukoscope("backup", "--config", box.config, "--out", old_backup)
    outbox = Outbox(box.folder / "outbox.db")
    outbox.change_tally(tally.start("patient Maier", 200, f"{DAY}T09:00:00.000000Z"))
    for specimen in ("patient Maier", "slide 8", "patient Maier"):
        record = make_record(device="box-1", specimen=specimen)
        outbox.accept(record, change=tally.counted(record))
    outbox.flush()
    leukoscope("erase", "patient Maier", "--config", box.config, "--yes", status=1)  # the box runs
    assert len(box.rows("cells")) == 5
    outbox.close()
    refused = leukoscope("erase", "patient Maier", "--config", box.config, status=2)
    assert "nothing was erased" in refused.stderr
    assert box.holds("patient Maier")
    done = leukoscope("erase", "patient Maier", "--config", box.config, "--yes", "--json", status=1)
    numbers = json.loads(done.stdout)
    assert {name: numbers[name] for name in ("cells", "reviews", "pictures", "waiting")} == {
        "cells": 3,
        "reviews": 3,
        "pictures": 3,
        "waiting": 2,
    }
    assert "the broker still keeps leukoscope/box-1/specimen" in done.stderr  # no broker is here
    assert box.holds("patient Maier") == []
    assert len(box.rows("cells")) == 2
    assert len(list(box.archive.glob("*/*.png"))) == 2
    again = Outbox(box.folder / "outbox.db")
    assert again.tally() == b""
    assert [decode_record(payload).specimen for _, payload in again.pending(0, 10)] == ["slide 8"]
    assert again.last_sequence() == 3  # numbers are not given twice
    again.close()
    said = leukoscope("restore", old_backup).stdout
    assert "erased after the backup: 3 results" in said
    assert box.holds("patient Maier") == []
    assert len(list(box.archive.glob("*/*.png"))) == 2
    assert len(box.rows("reviews")) == 2


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_a_file_with_a_member_of_no_name_is_no_backup(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert "does not belong" in leukoscope("restore", tmp_path / "foreign.tar", status=2).stderr


def test_pictures_of_records_that_still_waited_are_erased_too(tmp_path: Path) -> None:
    """No database knows them yet: only what waits names them."""
    box = Box(tmp_path / "box").fill({"slide 8": 1})
    others = {path.name for path in box.archive.glob("*/*.png")}
    outbox = Outbox(box.folder / "outbox.db")
    for specimen in ("patient Maier", "slide 8"):
        record = make_record(device="box-1", specimen=specimen)
        name = f"{DAY}/{record.id}.png"
        (box.archive / name).write_bytes(b"a picture")
        image = ImageReference(name=name, sha256=hashlib.sha256(b"a picture").hexdigest())
        outbox.accept(msgspec.structs.replace(record, image=image))
        others |= {f"{record.id}.png"} if specimen == "slide 8" else set()
    outbox.close()
    done = leukoscope("erase", "patient Maier", "--config", box.config, "--yes", "--json")
    numbers = json.loads(done.stdout)
    assert (numbers["cells"], numbers["waiting"], numbers["pictures"]) == (0, 1, 1)
    assert {path.name for path in box.archive.glob("*/*.png")} == others


def test_the_retained_count_of_an_erased_specimen_leaves_the_broker(tmp_path: Path) -> None:
    from broker import Mosquitto
    from paho.mqtt import publish, subscribe

    with Mosquitto(tmp_path) as broker:
        broker.start()
        box = Box(tmp_path / "box", broker.port).fill({"patient Maier": 1})
        outbox = Outbox(box.folder / "outbox.db")
        outbox.change_tally(tally.start("patient Maier", 200, f"{DAY}T09:00:00.000000Z"))
        outbox.flush()
        outbox.close()
        topic = "leukoscope/box-1/specimen"
        publish.single(topic, '{"specimen": "patient Maier"}', qos=1, retain=True, port=broker.port)
        leukoscope("erase", "patient Maier", "--config", box.config, "--yes")
        publish.single("leukoscope/box-1/health", "after", qos=1, retain=True, port=broker.port)
        found = subscribe.simple("leukoscope/box-1/#", qos=1, msg_count=1, port=broker.port)
        assert found.topic == "leukoscope/box-1/health"


def test_what_is_old_is_erased_and_does_not_come_back(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 3})
    out = tmp_path / "old.tar"
    leukoscope("backup", "--config", box.config, "--out", out)
    sink = open_sink(box.database)
    sink.store([make_record(sequence=9, specimen="new", captured_at="2999-01-01T00:00:00.000000Z")], [])
    sink.close()
    outbox = Outbox(box.folder / "outbox.db")  # the box runs: a timer may erase every night
    leukoscope("erase", "--older-than", "1s", "--config", box.config, "--yes")
    outbox.close()
    assert len(box.rows("cells")) == 1
    leukoscope("restore", out)
    assert len(box.rows("cells")) == 1
    assert list(box.archive.glob("*/*.png")) == []


def test_wrong_usage_is_named(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 1})
    both = leukoscope("erase", "x", "--older-than", "1d", "--config", box.config, "--yes", status=2)
    assert "either SPECIMEN or --older-than" in both.stderr
    assert "a number and s, m, h or d" in (
        leukoscope("erase", "--older-than", "soon", "--config", box.config, "--yes", status=2).stderr
    )
    assert "give a database" in (
        leukoscope(
            "backup", "--config", box.config, "--out", tmp_path / "x.tar", "--from", "x.csv", status=2
        ).stderr
    )
    assert "No such file" in leukoscope("restore", tmp_path / "nothing.tar", status=2).stderr


def test_a_mistyped_specimen_is_not_taken_for_an_erased_one(tmp_path: Path) -> None:
    box = Box(tmp_path / "box").fill({"slide 7": 1})
    command = [sys.executable, "-m", "edge", "erase", "slide 8", "--yes", "--config", str(box.config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert "nothing was found of specimen 'slide 8'; is the name right?" in done.stderr
    assert f"leukoscope results {box.database}" in done.stderr
    assert "backups" not in done.stderr


def test_a_strangers_archive_does_not_steer_the_terminal(tmp_path: Path) -> None:
    out, hostile = tmp_path / "b.tar", "\x1b[2J\x9b31m\u202e"
    box = Box(tmp_path / "box").fill({"slide 8": 1})
    leukoscope("backup", "--config", box.config, "--out", out)
    with tarfile.open(out) as tar:
        members = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    stranger = json.loads(members[MANIFEST]) | {"made_at": hostile, "device": hostile}
    with tarfile.open(out, "w") as tar:
        for name, data in (members | {MANIFEST: json.dumps(stranger).encode()}).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    for options in (["--check"], ["--check", "--json"], [], ["--json"]):
        done = leukoscope("restore", out, *options)
        assert not set(done.stdout + done.stderr) & set("\x1b\x9b\u202e")
        if options:
            assert "\\x1b[2J" in done.stdout or json.loads(done.stdout)["made_at"] == hostile
