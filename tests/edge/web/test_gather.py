"""A specimen put together for its report, however many cells it has."""

import hashlib
from pathlib import Path

import msgspec
from broker import make_record

from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.records import ImageReference
from edge.specimen.page import SHOWN_CELLS, render
from edge.web.gather import summary_of


def test_only_pictures_that_the_report_shows_are_held(tmp_path: Path) -> None:
    """Months of cells without a specimen's name are one report too, and a box has little memory."""
    archive, records = tmp_path / "archive", []
    archive.mkdir()
    for number in range(SHOWN_CELLS + 40):
        record = make_record(
            sequence=number, specimen="", probabilities={"ALL": number / 1000, "HEM": 1 - number / 1000}
        )
        data = b"picture %d" % number
        image = ImageReference(name=f"{record.id}.png", sha256=hashlib.sha256(data).hexdigest())
        records.append(msgspec.structs.replace(record, image=image))
        if number % 20:  # some were not kept
            (archive / image.name).write_bytes(data)
    sink = open_sink(f"sqlite:///{tmp_path}/results.db")
    sink.store(records, [])
    sink.close()
    results = Results(f"sqlite:///{tmp_path}/results.db")
    summary = summary_of(results, "", archive, "")
    results.close()
    assert len(summary.cells) == len(records)
    shown = [cell for cell in summary.cells if cell.picture is not None]
    assert len(shown) == SHOWN_CELLS == render(summary).count("data:image/png")
    likeliest = [record.sequence for record in reversed(records) if record.sequence % 20][:SHOWN_CELLS]
    assert [cell.record.sequence for cell in shown] == likeliest
