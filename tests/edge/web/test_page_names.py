"""The page for a model whose classes have other names."""

import json
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from own_classes import NEGATIVE, POSITIVE, own_model
from playwright.sync_api import Browser, Page, expect

from tests.edge.web.conftest import address_in, leukoscope, stop, wait_for

pytestmark = pytest.mark.timeout(120)


def text_of(page: Page, path: str, part: str = "main") -> str:
    """What a page says, its language menu and its texts for scripts left out."""
    page.goto(path)
    return page.inner_text(part)


def test_it_counts_reviews_and_reports_by_these_names(
    browser: Browser, tmp_path: Path, shipped_model: Path
) -> None:
    own_model(tmp_path / "own.tflite", shipped_model)
    demo = leukoscope("demo", "--model", "own.tflite", cwd=tmp_path)
    context = browser.new_context(
        base_url=address_in(demo), locale="en-GB", viewport={"width": 1200, "height": 1400}
    )
    try:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/live")
        expect(page.locator("#view")).to_be_visible(timeout=30_000)
        page.fill("#specimen", "S1")
        page.fill("#target", "4")
        page.click("#begin")
        wait_for(lambda: int(page.text_content(f"[id='n-{POSITIVE}']") or 0) >= 4)
        page.click("#stop")
        assert page.locator("#counts dt").all_inner_texts()[:2] == [POSITIVE, NEGATIVE]
        expect(page.locator("#percent")).to_contain_text("cells called blast per 100")
        expect(page.locator("#last li.ALL").first).to_contain_text("p(blast)")
        page.goto("/review")
        page.fill("#reviewer", "Ada")
        page.click("button[type=submit]")
        page.click(f"[data-label={POSITIVE}]")
        expect(page.locator("#verdict")).to_contain_text("you said blast; the model: ")
        pages = {path: text_of(page, path) for path in ("/cells", "/specimens", "/live", "/review")}
        expect(page.locator(f"[data-label='{NEGATIVE}']")).to_have_count(1)
        pages["/report"] = text_of(page, "/report?specimen=S1", "body")
        lines = [(path, line) for path, text in pages.items() for line in text.splitlines() if "HEM" in line]
        assert lines == []
        assert "Probability of blast from" in pages["/cells"]
        wait_for(lambda: NEGATIVE in text_of(page, "/specimens"))
        found = json.loads(page.request.get(f"/api/cells?counted={POSITIVE}&p_from=0.5").text())["cells"]
        assert {cell["verdict"] for cell in found} == {POSITIVE}
        assert wrong == []
    finally:
        context.close()
        stop(demo)
