"""The technician's whole way, in a real browser, on the demo."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect

from tests.edge.web.conftest import wait_for

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[3]
PAGES = ("live", "cells", "specimens", "health", "settings", "review")
SPECIMEN = "H26/0815 <b>x</b>"
# Those of an empty test are refused by the CSP before they come here.
UNEXPECTED = re.compile("404|Failed to load resource")


@pytest.fixture
def page(browser: Browser, demo: str) -> Iterator[Page]:
    """A new browser window, in which nothing may go wrong unseen."""
    context = browser.new_context(base_url=demo, locale="en-GB", viewport={"width": 1200, "height": 900})
    context.set_default_timeout(15_000)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "console",
        lambda said: (
            wrong.append(said.text) if said.type == "error" and not UNEXPECTED.search(said.text) else None
        ),
    )
    yield opened
    context.close()
    assert wrong == []


def counted(page: Page) -> int:
    return sum(int(page.text_content(f"#n-{name}") or 0) for name in ("ALL", "HEM", "refer", "other"))


def until(page: Page, true: str, seconds: float = 15.0) -> None:
    """Wait until JavaScript gives true; the page's policy forbids Playwright's own way, which compiles text."""
    wait_for(lambda: page.evaluate(true), seconds)


CELLS = "['ALL', 'HEM', 'refer'].reduce((n, name) => n + Number(document.getElementById(`n-${name}`).textContent), 0)"
WHITE_CELLS = CELLS.replace(", 'refer'", "")


def start(page: Page, specimen: str = SPECIMEN, target: int = 3) -> None:
    page.goto("/live")
    expect(page.locator("#view")).to_be_visible(timeout=20_000)  # the box is there
    page.fill("#specimen", specimen)
    page.fill("#target", str(target))
    page.click("#begin")
    expect(page.locator("#state")).to_contain_text(f"Counting {specimen}")


def test_a_specimen_from_start_to_report(page: Page) -> None:
    start(page)
    expect(page.locator("#view")).to_be_visible()
    until(page, "document.querySelectorAll('#boxes rect').length > 0")
    until(page, f"{WHITE_CELLS} >= 3")
    expect(page.locator("#count.complete")).to_be_attached()  # the flash at the target
    assert (
        page.locator("#percent").text_content().startswith(tuple("0123456789"))
    )  # blasts per 100, with limits
    expect(page.locator("#checked")).to_contain_text("not been checked in this laboratory")
    page.click("#stop")
    expect(page.locator("#state")).to_contain_text("stopped")
    expect(page.locator("#stop")).to_be_disabled()
    total = counted(page)
    page.click("#report")
    expect(page.locator("h1")).to_have_text(f"Specimen {SPECIMEN}")  # shown as it was written, and never run
    body = page.text_content("body") or ""
    assert "RESEARCH AND SECOND OPINION ONLY" in body
    page.wait_for_timeout(500)
    page.reload()  # the logger has the last cells by now
    numbers = page.locator(".counts tr").nth(1).locator("td").all_text_contents()
    assert sum(map(int, numbers[:4])) == total
    assert page.locator("figure img").count() == total


def test_a_cell_opens_with_its_picture_and_where_its_verdict_comes_from(page: Page) -> None:
    page.goto("/cells?counted=ALL")
    page.locator("#cells li a").first.click()
    expect(page.locator("#cell-picture")).to_be_visible()
    expect(page.locator("#cell-map")).to_be_visible()
    for image in ("#cell-picture", "#cell-map"):
        until(page, f"document.querySelector('{image}').naturalWidth > 0")
    assert "ALL (blast)" in (page.text_content("#facts") or "")


def test_filters_keep_what_was_asked_for(page: Page) -> None:
    start(page, "filters", 100)

    def healthy_cell_is_stored() -> object:
        page.goto("/cells?counted=HEM")
        page.wait_for_timeout(500)
        return page.evaluate("document.querySelectorAll('#cells li.HEM').length > 0")

    wait_for(healthy_cell_is_stored, 60)
    page.goto("/cells")
    page.select_option("#f-counted", "HEM")
    page.click("#filters [type=submit]")
    until(page, "document.querySelectorAll('#cells li.HEM').length > 0")
    expect(page.locator("#cells li:not(.HEM)")).to_have_count(0)
    page.fill("#f-from", "0.99")
    page.click("#filters [type=submit]")
    expect(page.locator("#found")).to_have_text("No cells fit.")


def test_two_people_review_blind_and_their_agreement_is_shown(page: Page) -> None:
    start(page, "two people", 2)
    until(page, f"{CELLS} > 5")
    page.click("#stop")
    page.wait_for_timeout(1000)
    page.goto("/review?specimen=two%20people")
    page.fill("#reviewer", "Ada")
    page.click("#who [type=submit]")
    expect(page.locator("#review-picture")).to_be_visible()
    expect(page.locator("#verdict")).to_have_text("")  # blind: nothing before the decision
    first = page.get_attribute("#review-picture", "src")
    page.locator("h1").click()
    page.keyboard.press("2")
    expect(page.locator("#review-progress")).to_contain_text("1 reviewed")
    expect(page.locator("#verdict")).to_contain_text("you said HEM (healthy); the model")
    page.keyboard.press("u")
    expect(page.locator("#review-progress")).to_contain_text("0 reviewed")
    assert page.get_attribute("#review-picture", "src") == first
    for number, key in enumerate("12", start=1):
        page.keyboard.press(key)
        expect(page.locator("#review-progress")).to_contain_text(f"{number} reviewed")
    page.fill("#reviewer", "Bo")
    page.check("#second")
    page.click("#who [type=submit]")
    expect(page.locator("#review-progress")).to_contain_text("0 reviewed, 2 left")
    for number, label in enumerate(("ALL", "HEM"), start=1):
        page.click(f"[data-label={label}]")
        expect(page.locator("#review-progress")).to_contain_text(f"{number} reviewed")
    expect(page.locator("#review-none")).to_be_visible()
    expect(page.locator("#agreement")).to_contain_text(
        "Ada and Bo: the same for 2 of 2 cells, Cohen’s kappa 1.00"
    )
    page.goto("/report?specimen=two%20people")
    assert "kappa 1.00" in (page.text_content("body") or "")


def test_another_language_stays_chosen_and_its_errors_too(page: Page) -> None:
    page.goto("/live")
    page.select_option("#language", "es")
    expect(page.locator("h1")).to_have_text("En vivo")
    assert page.get_attribute("html", "lang") == "es"
    page.goto("/health")
    expect(page.locator(".notice")).to_contain_text("no es un diagnóstico")
    expect(page.locator("#health")).to_contain_text("conectado")
    page.goto("/live")
    expect(page.locator("#capture")).to_be_hidden()  # the demo works through its samples
    page.evaluate("document.getElementById('capture').click()")  # as if it were still shown: the box refuses
    expect(page.locator("#fault")).to_contain_text("El aparato lo rechaza")


def test_the_keyboard_alone_starts_and_stops(page: Page) -> None:
    page.goto("/live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "specimen"
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Counting by keyboard")
    for _ in range(3):
        page.keyboard.press("Tab")
    if page.evaluate("document.activeElement.id") != "stop":
        page.locator("#stop").focus()
    page.keyboard.press("Space")
    expect(page.locator("#state")).to_contain_text("by keyboard: stopped")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_is_accessible(browser: Browser, demo: str, scheme: str) -> None:
    axe = Path(os.environ.get("LEUKOSCOPE_AXE", ROOT / ".venv/axe/node_modules/axe-core/axe.min.js"))
    context = browser.new_context(
        base_url=demo, color_scheme=scheme, locale="fr-FR", viewport={"width": 360, "height": 740}
    )
    page = context.new_page()
    page.goto("/cells")
    page.wait_for_selector("#cells li a")
    cell = page.get_attribute("#cells li a", "href")
    faults = {}
    for path in (*(f"/{name}" for name in PAGES), cell or "", "/report?specimen=all"):
        page.goto(path)
        page.wait_for_timeout(600)
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{path} is {over} px too wide"
        if axe.exists():
            page.evaluate(axe.read_text())
            found = page.evaluate(
                "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
                ".then(r => r.violations.map(v => `${v.id}: ${v.nodes[0].html.slice(0, 200)}`))"
            )
            if found:
                faults[path] = found
    context.close()
    assert faults == {}
    if not axe.exists():
        pytest.skip(
            "axe-core is missing (npm install --prefix .venv/axe axe-core): contrast and labels not checked"
        )


def test_a_name_that_is_a_program_is_only_shown(page: Page) -> None:
    evil = "<img src=x onerror=window.ran=1>\"';--"
    start(page, evil)
    page.wait_for_timeout(1500)
    page.click("#stop")
    for path in ("/live", "/specimens", "/cells"):
        page.goto(path)
        page.wait_for_timeout(700)
        assert page.evaluate("window.ran") is None
        assert page.locator("img[src=x]").count() == 0
    page.goto("/specimens")
    expect(page.locator("#specimens")).to_contain_text(evil)


def test_five_windows_watch_at_once(browser: Browser, demo: str) -> None:
    contexts = [browser.new_context(base_url=demo) for _ in range(5)]
    pages = [context.new_page() for context in contexts]
    for one in pages:
        one.goto("/live")
    for one in pages:
        expect(one.locator("#view")).to_be_visible(timeout=15_000)
    for context in contexts:
        context.close()
    assert threading.active_count() < 50


FINGER_PX = 44
"""The least side of what a gloved finger has to hit (WCAG 2.5.5)."""

# A checkbox is hit by its label, which counts in its place; the skip link is for the keyboard.
TARGETS = """[...document.querySelectorAll('a, button, input, select, summary')]
  .map(e => e.type === 'checkbox' ? e.closest('label') : e)
  .filter(e => e.getClientRects().length && !e.classList.contains('skip'))
  .map(e => [`${e.tagName} ${e.id} ${e.textContent.trim().slice(0, 20)}`, e.getBoundingClientRect().height])"""


@pytest.mark.parametrize(("width", "height"), [(1024, 600), (390, 844)])
def test_fingers_hit_everything_and_nothing_is_on_the_right(
    browser: Browser, demo: str, width: int, height: int
) -> None:
    context = browser.new_context(base_url=demo, locale="en-GB", viewport={"width": width, "height": height})
    page = context.new_page()
    page.goto("/live")
    page.wait_for_selector("#last li a")  # so that there is a specimen to be listed
    for name in PAGES:
        page.goto(f"/{name}")
        page.wait_for_timeout(600)
        small = [found for found in page.evaluate(TARGETS) if found[1] < FINGER_PX - 0.5]
        assert small == [], f"/{name} at {width} px"
        inside = "e => [e.scrollWidth - e.clientWidth, e.className]"
        wide = [
            over for over in page.locator(".scroll").evaluate_all(f"all => all.map({inside})") if over[0] > 0
        ]
        assert wide == [], f"/{name} is scrolled sideways at {width} px"
    page.goto("/specimens")
    report = page.locator("#specimens td a").first
    expect(report).to_be_visible()
    box = report.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width
    context.close()


def test_a_touch_screen_of_600_pixels_shows_buttons_and_counts_together(browser: Browser, demo: str) -> None:
    context = browser.new_context(base_url=demo, locale="en-GB", viewport={"width": 1024, "height": 600})
    page = context.new_page()
    start(page, "touch", 100)
    until(page, f"{CELLS} >= 1")
    for shown in ("#view", "#light", "#begin", "#stop", "#counts", "#percent"):
        box = page.locator(shown).bounding_box()
        assert box is not None, shown
        assert box["y"] + box["height"] <= 600, f"{shown} ends at {box['y'] + box['height']:.0f} px"
    page.click("#stop")
    context.close()


def test_probabilities_are_not_rounded_to_certainty(page: Page) -> None:
    page.goto("/cells?p_from=0.99")
    page.wait_for_selector("#cells li a")
    shown = page.locator("#cells li p:nth-of-type(2)").all_text_contents()
    assert shown
    assert all(re.fullmatch(r"p\(ALL\) 0\.\d{3}", text) for text in shown)


def test_a_tablet_shows_the_menu_in_one_line_and_every_count_within_its_card(
    browser: Browser, demo: str
) -> None:
    context = browser.new_context(base_url=demo, locale="fr-FR", viewport={"width": 820, "height": 1180})
    page = context.new_page()
    page.goto("/live")
    expect(page.locator("#view")).to_be_visible(timeout=20_000)
    page.fill("#specimen", "tablette")
    page.click("#begin")
    until(page, f"{WHITE_CELLS} >= 3")
    expect(page.locator("#percent")).to_contain_text(
        re.compile(r"^\d+,\d cellules")
    )  # a comma, as the report
    page.click("#stop")
    tops = page.locator("nav a").evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
    assert len(tops) == len(PAGES) and len(set(tops)) == 1
    over = "e => e.getBoundingClientRect().right - e.closest('.card').getBoundingClientRect().right"
    assert max(page.locator("#counts div").evaluate_all(f"all => all.map({over})")) < 0
    context.close()


def test_the_report_breaks_no_word_of_its_count_on_a_phone(browser: Browser, demo: str) -> None:
    context = browser.new_context(base_url=demo, locale="fr-FR", viewport={"width": 360, "height": 740})
    page = context.new_page()
    page.goto("/live")
    page.wait_for_selector("#last li a")
    page.goto("/report?specimen=all")
    heads = page.locator(".counts th").evaluate_all("all => all.map(e => e.getBoundingClientRect().height)")
    assert len(heads) == 5 and max(heads) < 40  # one line each
    context.close()
