"""The report in a real Chromium: alone, quiet, readable on a phone, in the dark, on paper and without a mouse."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Page

from drill.model.fact import Fact
from drill.reporting import html
from tests.browser.conftest import Open
from tests.runs import crashed, passing, renamed, with_observed

HASH = "0" * 64
NAMES = json.loads((Path(__file__).parents[1] / "bad" / "names.json").read_text(encoding="utf-8"))
FACTS = passing()
RUNS: dict[str, tuple[Fact, ...]] = {
    "pass": FACTS,
    "fail": crashed(FACTS, "db"),
    "unknown": with_observed(FACTS, "boot", "db", None),
    "cut short": FACTS[:30],
    "empty": (),
}

CONTRASTS = """() => {
  const channel = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('svg, .hidden, thead, .skip')) continue;
    const [one, two] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
    const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${element.className} ${walker.currentNode.data.slice(0, 40)}`);
  }
  return found;
}"""


@pytest.fixture(params=list(RUNS))
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The report of a run, one for each verdict."""
    return drawn(tmp_path, html.render(RUNS[request.param], HASH))


@pytest.fixture
def passed(tmp_path: Path) -> Path:
    return drawn(tmp_path, html.render(FACTS, HASH))


def drawn(folder: Path, text: str) -> Path:
    path = folder / "report.html"
    html.write(path, text)
    return path


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_opens_alone_and_says_nothing(report: Path, open_page: Open, width: int, dark: bool) -> None:
    opened = open_page(report, width=width, dark=dark)
    assert opened.requests == [report.as_uri()]
    assert opened.said == []
    assert overflow(opened.page) == 0


def test_every_picture_is_seen(passed: Path, open_page: Open) -> None:
    page = open_page(passed).page
    assert page.evaluate("[...document.images].map(one => one.complete && one.naturalWidth > 0)") == [True] * 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_against_what_is_behind_it(report: Path, open_page: Open, dark: bool) -> None:
    page = open_page(report, dark=dark).page
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate(CONTRASTS) == []


def test_the_dark_page_is_dark(passed: Path, open_page: Open) -> None:
    shades = [
        open_page(passed, dark=dark).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for dark in (False, True)
    ]
    assert shades == ["rgb(247, 247, 245)", "rgb(16, 19, 23)"]


def test_evidence_opens_by_keyboard_alone(passed: Path, open_page: Open) -> None:
    page = open_page(passed).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    page.locator("#checks").scroll_into_view_if_needed()
    summary = page.locator(".checks summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator(".checks details[open] pre").first.is_visible()


def test_a_screen_reader_finds_landmarks_headings_and_tables(passed: Path, open_page: Open) -> None:
    page = open_page(passed).page
    for role in ("banner", "main", "navigation"):
        assert page.get_by_role(role).count() == 1, role
    levels = [
        int(tag[1]) for tag in page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(one => one.tagName)")
    ]
    assert levels[:2] == [1, 2]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert page.get_by_role("heading", name="Verdict: Passed").count() == 1
    assert page.get_by_role("rowheader", name="Console heartbeat").count() == 3
    assert page.get_by_role("img", name="Console of db").count() == 1


def test_tables_stay_tables_on_a_phone(passed: Path, open_page: Open) -> None:
    page = open_page(passed, width=390).page
    assert page.get_by_role("rowheader", name="Console heartbeat").count() == 3
    assert page.get_by_role("cell").filter(has_text="3 rising beats on the console").count() == 3


def test_it_prints_with_its_evidence_open(passed: Path, open_page: Open) -> None:
    page = open_page(passed).page
    document = page.pdf(format="A4")
    assert document.startswith(b"%PDF-")
    page.emulate_media(media="print")
    assert page.locator(".checks details pre").first.is_visible()
    assert not page.locator("nav").is_visible()


def test_hostile_names_are_inert_and_keep_the_page_in_its_width(tmp_path: Path, open_page: Open) -> None:
    for name in NAMES:
        path = drawn(tmp_path, html.render(renamed(FACTS, name["text"]), HASH))
        opened = open_page(path, width=390)
        assert (name["name"], opened.requests, opened.said) == (name["name"], [path.as_uri()], [])
        assert overflow(opened.page) == 0, name["name"]
        assert opened.page.evaluate("document.scripts.length + document.forms.length + frames.length") == 0
        opened.page.context.close()


def test_a_page_without_a_script_of_ours_lets_none_of_theirs_run(tmp_path: Path, open_page: Open) -> None:
    text = html.render(FACTS, HASH).replace("</main>", "<script>document.title='owned'</script></main>")
    opened = open_page(drawn(tmp_path, text))
    assert opened.page.title() != "owned"
    assert len(opened.said) == 1
    assert "Content Security Policy" in opened.said[0]
