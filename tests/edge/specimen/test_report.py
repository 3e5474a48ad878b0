"""The report of a specimen, from a logger's database to the page and the FHIR document."""

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
import pytest

from edge.errors import InputError
from edge.logger import reviews
from edge.logger.queries import Results
from edge.logger.stores.sinks import open_sink
from edge.records import ImageReference, ModelReference, Record, uuid7
from edge.specimen import fhir, page
from edge.specimen.errors import ModelErrors
from edge.specimen.summary import CHECKED_FROM, summarise
from edge.web.gather import summary_of

pytest.importorskip("sqlalchemy")
ROOT = Path(__file__).resolve().parents[3]
CELLS = sorted((ROOT / "samples/cells").rglob("*.png"))
MODEL = ModelReference(name="mobilenet_m", sha256="ab" * 32)


def record(number: int, verdict: str = "HEM", **changes: object) -> Record:
    cell = CELLS[number % len(CELLS)]
    known = {
        "id": uuid7(),
        "device": "box-1",
        "sequence": number + 1,
        "captured_at": f"2026-11-27T10:{number // 60 % 60:02d}:{number % 60:02d}.000000Z",
        "monotonic_ns": number,
        "specimen": "H24/0815",
        "source": str(cell),
        "verdict": verdict,
        "probabilities": {"ALL": 0.9, "HEM": 0.1} if verdict == "ALL" else {"ALL": 0.2, "HEM": 0.8},
        "reasons": ["low confidence: HEM 0.60 (limit 0.74)"] if verdict == "refer" else [],
        "quality": {},
        "timings_ms": {},
        "model": MODEL,
        "settings_sha256": "cd" * 32,
        "software": "leukoscope 0.1.0",
        "image": ImageReference(name=f"{cell.parent.name}/{cell.name}", sha256="0" * 64),
    }
    return msgspec.convert(known | changes, Record)


@pytest.fixture
def results(tmp_path: Path):
    """12 ALL, 80 HEM, 6 referred and 10 other cells of one specimen, and a cell of another."""
    verdicts = ["ALL"] * 12 + ["HEM"] * 80 + ["refer"] * 16
    records = [record(i, verdict) for i, verdict in enumerate(verdicts)]
    records = [msgspec.structs.replace(r, kind="other") if i >= 98 else r for i, r in enumerate(records)]
    target = f"sqlite:///{tmp_path / 'results.db'}"
    sink = open_sink(target)
    sink.store([*records, record(200, specimen="another")], [])
    sink.close()
    found = Results(target)
    yield found, records
    found.close()


def test_the_counts_are_those_of_the_accepted_records(results) -> None:
    found, _ = results
    summary = summary_of(found, "H24/0815", None, None)
    assert summary.counts == {"ALL": 12, "HEM": 80, "refer": 6, "other": 10}
    assert summary.found.white_cells == 102
    assert summary.found.percent == pytest.approx(100 * 12 / 102)
    assert summary.first.endswith("10:00:00.000000Z")
    assert not summary.checked_here
    assert summary.errors is None  # no card of the model that made these records is here


def test_a_specimen_that_is_not_there_is_refused_with_those_that_are(results) -> None:
    found, _ = results
    with pytest.raises(InputError, match=r"no cell of specimen 'nobody'.*H24/0815, another"):
        summary_of(found, "nobody", None, None)


def test_the_newest_review_counts_and_enough_of_them_check_the_model(results) -> None:
    found, records = results
    for i, one in enumerate(records[:CHECKED_FROM]):
        reviews.add(
            found, reviews.Review(cell=one.id, label="HEM", reviewer="Ana", at=f"2026-11-27T11:00:{i:02d}Z")
        )
    reviews.add(
        found, reviews.Review(cell=records[0].id, label="ALL", reviewer="Ben", at="2026-11-27T12:00:00Z")
    )
    summary = summary_of(found, "H24/0815", None, None)
    assert summary.reviewed == {"HEM": CHECKED_FROM - 1, "ALL": 1}
    assert summary.agreement == (CHECKED_FROM - 12 + 1, CHECKED_FROM)
    assert summary.checked_here
    reviews.add(
        found,
        reviews.Review(cell=records[0].id, label="cannot say", reviewer="Ben", at="2026-11-27T13:00:00Z"),
    )
    assert not summary_of(found, "H24/0815", None, None).checked_here


def test_the_page_needs_no_other_file_and_says_what_it_is(results) -> None:
    found, _ = results
    text = page.render(summary_of(found, "H24/0815", ROOT / "samples/cells", None))
    assert "RESEARCH AND SECOND OPINION ONLY, NOT A DIAGNOSIS" in text
    assert "has not been checked in this laboratory" in text
    assert text.count("data:image/png;base64,") == page.SHOWN_CELLS
    assert "http" not in text.replace("http-equiv", "")
    assert "11.8" in text
    assert "6.2 to 19.6" in text
    assert text.index("refer") < text.index("<b>ALL</b>")


def test_strangers_text_is_shown_and_never_runs() -> None:
    hostile = "<script>alert(1)</script>\x1b[2J\u202e"
    from edge.specimen.summary import ReportCell

    one = record(1, "refer", specimen=hostile, device=hostile, reasons=[hostile])
    text = page.render(summarise(hostile, [ReportCell(one, None, b"png")], {}))
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


def test_the_fhir_document_is_valid_and_holds_the_count(results) -> None:
    bundles = pytest.importorskip("fhir.resources.R4B.bundle")
    found, _ = results
    summary = summary_of(found, "H24/0815", None, None)
    from datetime import datetime, timezone

    written = fhir.bundle(summary, datetime(2026, 11, 27, 12, tzinfo=timezone.utc))
    read = bundles.Bundle.model_validate_json(json.dumps(written))
    report, blasts, *counts = (entry.resource for entry in read.entry)
    assert report.status == blasts.status == "preliminary"
    assert {coding.code for coding in blasts.code.coding} == {"26446-5", "34922-5"}
    assert float(blasts.valueQuantity.value) == pytest.approx(11.76)
    assert [count.valueInteger for count in counts] == [12, 80, 6, 10]
    assert "not a diagnosis" in report.conclusion
    assert [reference.reference for reference in report.result] == [entry.fullUrl for entry in read.entry[1:]]
    again = fhir.bundle(summary, datetime(2026, 11, 28, tzinfo=timezone.utc))
    assert [e["fullUrl"] for e in again["entry"]] == [e["fullUrl"] for e in written["entry"]]


def test_the_models_errors_correct_the_count() -> None:
    from edge.specimen.summary import ReportCell

    cells = [ReportCell(record(i, "ALL" if i < 10 else "HEM"), None, None) for i in range(100)]
    summary = summarise("x", cells, {}, ModelErrors(0.95, 0.95))
    assert summary.found.adjusted_percent == pytest.approx(100 * 0.05 / 0.9)
    assert "5.6" in page.render(summary)


LANGUAGES = ("en", "fr", "es", "pt")


def words_of(html: str) -> str:
    """What a person reads: without style, attributes and tags."""
    body = re.sub(r"<(style|head)>.*?</\1>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_says_what_it_is_in_every_language(results, language: str) -> None:
    found, _ = results
    text = page.render(summary_of(found, "H24/0815", ROOT / "samples/cells", None), language=language)
    notice = {
        "en": "research and second opinion only, not a diagnosis",
        "fr": "recherche et deuxième avis seulement, pas un diagnostic",
        "es": "solo investigación y segunda opinión, no es un diagnóstico",
        "pt": "somente pesquisa e segunda opinião, não é um diagnóstico",
    }[language]
    assert f'<html lang="{language}">' in text
    assert notice.upper() in text  # on top
    assert f'content: "{notice.capitalize()}";' in text  # below every printed side
    assert f"<footer>{notice.capitalize()}." in text
    assert ("11.8" if language == "en" else "11,8") in text
    assert text.count("data:image/png;base64,") == page.SHOWN_CELLS


@pytest.mark.parametrize("language", ["fr", "es", "pt"])
def test_no_english_word_of_the_report_is_left(results, language: str) -> None:
    """All that English and the other report share are names, numbers and what the box recorded."""
    found, records = results
    for i, label in enumerate(["ALL", "cannot say", "not a cell", "other"]):
        at = f"2026-11-27T11:00:{i:02d}Z"
        reviews.add(found, reviews.Review(cell=records[i].id, label=label, reviewer="Ana", at=at))
    summary = summary_of(found, "H24/0815", ROOT / "samples/cells", None)
    english, other = (words_of(page.render(summary, language=each)) for each in ("en", language))
    same = {word.strip(".,;:()") for word in english.split()} & {
        word.strip(".,;:()") for word in other.split()
    }
    recorded = {"mobilenet_m", "box-1"}
    for each in records:
        recorded |= {each.model.sha256, each.settings_sha256, each.software}
        recorded |= {word.strip(".,;:()") for word in " ".join(each.reasons).split()}
    names = {
        "ALL",
        "HEM",
        "Leukoscope",
        "leukoscope",
        "report",
        "--out",
        "FILE.csv",
        "H24/0815",
        "Ana",
        "UTC",
        "Clopper–Pearson",
    }
    alike = {"Date", "signature", "Relues"} if language == "fr" else set()  # the same word in both languages
    left = {word for word in same - recorded - names if len(word) > 2 and word.isalpha()}
    assert left <= alike, left


def test_the_reports_catalogues_have_the_same_texts_and_are_the_pages_languages() -> None:
    from edge.host.languages import LANGUAGES as OF_THE_PAGE
    from edge.notice import NOTICE
    from edge.specimen.texts import catalogue
    from edge.web.settings import WebSettings

    assert OF_THE_PAGE == get_args(get_type_hints(WebSettings)["language"]) == LANGUAGES
    english = catalogue("en")
    assert english["notice"].lower() == NOTICE.lower()
    for language in LANGUAGES:
        texts = catalogue(language)
        assert texts.keys() == english.keys()
        for key, text in texts.items():
            assert text.strip(), key
            assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key
        assert not set("\"'\\<&") & set(texts["notice"])  # it stands in a style sheet as it is
    assert catalogue("../en") == catalogue("nowhere") == english


def test_the_command_writes_the_report_in_a_language(results, tmp_path: Path) -> None:
    from edge.cli.main import main

    _found, _ = results
    out = tmp_path / "report.html"
    words = ["report", "H24/0815", "--from", f"sqlite:///{tmp_path / 'results.db'}", "--out", str(out)]
    assert main([*words, "--language", "pt"]) == 0
    assert "Amostra H24/0815" in out.read_text(encoding="utf-8")
