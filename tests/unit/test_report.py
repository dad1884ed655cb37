"""The page: what a reader must find in it, that it stands alone, and that no name in it is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill import data
from drill.core.verdicts import judge
from drill.model.fact import Fact, HostSeen, Json, PictureTaken, RunStarted, ScreenSeen, StepEnded
from drill.reporting import html, page, timeline
from drill.reporting.plain import line, visible
from drill.reporting.record import load
from tests.runs import RUN, START_US, TIERS, crashed, passing, png, renamed, screen, with_observed

FACTS = passing()
HASH = "c0ffee" * 10 + "beef"
NAMES = json.loads((Path(__file__).parents[1] / "bad" / "names.json").read_text(encoding="utf-8"))
VOID = {"meta", "link", "img", "br", "hr", "input"}
ALLOWED = {
    "html", "head", "meta", "title", "link", "style", "body", "header", "main", "section", "nav", "div", "p", "span",
    "h1", "h2", "h3", "ul", "li", "a", "b", "em", "code", "pre", "time", "dl", "dt", "dd", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption", "img",
    "svg", "symbol", "circle", "path", "use", "g", "rect", "line", "text",
}  # fmt: skip


class Reader(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def drawn(facts: tuple[Fact, ...] = FACTS) -> Reader:
    return Reader(html.render(facts, HASH))


def spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_the_page_says_what_a_reader_looks_for() -> None:
    text = spaced(drawn().text)
    for wanted in [
        "Passed", "All 44 checks passed", "Nothing was left behind", "Production could not be reached",
        "RPO 22.3 s", "47 records", "RTO 18.3 s", "objective 60 s", "objective 2 min",
        "Console heartbeat", "52:54:00:61:02:1e", "J1: size one-nic", "F5: subnet web has the source's name",
        "e7f3a1c2/8", "crash-consistent", "tcg", "9.0.0", "7.2.22", "6.1.0-40-amd64", "drill 0.1.0", RUN, HASH,
        "20 November 2026, 20:03 UTC", "emulation",
    ]:  # fmt: skip
        assert wanted in text, wanted


def test_a_record_gives_the_same_page_every_time() -> None:
    assert html.render(FACTS, HASH) == html.render(passing(), HASH)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    reader = drawn()
    for tag, attributes in reader.elements:
        assert tag in ALLOWED
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("style", "srcset", "action", "formaction", "background", "ping")
            if name in ("src", "href"):
                assert value is not None
                assert re.match(r"#|data:,$|data:image/png;base64,", value)


def test_the_policy_allows_the_style_inside_by_its_hash_and_nothing_else() -> None:
    text = html.render(FACTS, HASH)
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    (policy,) = [one["content"] for one in Reader(text).every("meta") if one.get("http-equiv")]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"url\(|@import|expression", style[1])


def test_every_table_has_headers_with_scope_and_every_picture_says_what_it_is() -> None:
    reader = drawn()
    assert all(one.get("scope") in ("col", "row") for one in reader.every("th"))
    assert all(one.get("alt") for one in reader.every("img"))
    assert all(one.get("role") == "img" or one.get("aria-hidden") == "true" for one in reader.every("svg"))
    assert all(one.get("aria-labelledby") or one.get("aria-label") for one in reader.every("section"))
    ids = [one["id"] for _, one in reader.elements if "id" in one]
    assert len(ids) == len(set(ids))
    assert {(one["href"] or "")[1:] for one in reader.every("a")} <= set(ids)


def test_every_machine_shows_its_screen() -> None:
    pictures = {one["src"] for one in drawn().every("img")}
    assert pictures == {f"data:image/png;base64,{base64.b64encode(png(tier.vm)).decode()}" for tier in TIERS}


BAD_PICTURES = {
    "no picture": b"<svg onload=alert(1)>",
    "nothing": b"",
    "a huge one": b"\x89PNG\r\n\x1a\n" + bytes(page.SCREEN_BYTES_MAX),
}


@pytest.mark.parametrize("content", BAD_PICTURES.values(), ids=BAD_PICTURES.keys())
def test_what_is_no_picture_is_not_shown_as_one(content: bytes) -> None:
    facts = tuple(screen(fact.vm, content) if isinstance(fact, ScreenSeen) else fact for fact in FACTS)
    reader = drawn(facts)
    assert reader.every("img") == []
    assert "holds no picture of this console" in reader.text


OTHER_PICTURES = {
    "another digest": {"sha256": "0" * 64},
    "no base64": {"png_base64": "!!!"},
    "no ASCII": {"png_base64": "é"},
}


@pytest.mark.parametrize("field", OTHER_PICTURES.values(), ids=OTHER_PICTURES.keys())
def test_a_picture_that_is_not_the_recorded_one_is_not_shown(field: dict[str, str]) -> None:
    facts = tuple(replace(fact, **field) if isinstance(fact, ScreenSeen) else fact for fact in FACTS)  # type: ignore[arg-type]
    assert drawn(facts).every("img") == []


@pytest.mark.parametrize("length", range(0, len(FACTS), 5))
def test_a_run_cut_short_anywhere_can_be_drawn_and_says_so(length: int) -> None:
    reader = drawn(FACTS[:length])
    assert "Not proven" in reader.text
    assert "cut short" in reader.text or "the record is empty" in reader.text


def test_what_failed_stands_before_what_could_not_be_proven_and_both_lead_to_their_evidence() -> None:
    facts = crashed(FACTS, "db")
    facts = with_observed(facts, "heartbeat", "db", None)
    content = page.build(facts, judge(facts), HASH)
    assert [(one.check, one.word) for one in content.attention] == [("boot", "Failed"), ("heartbeat", "Not proven")]
    assert content.headline == "1 of 44 checks failed, 1 could not be proven."
    assert "came up" not in content.executive
    reader = drawn(facts)
    assert "Needs attention" in reader.text
    assert '"state": "crashed"' in reader.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=30), inner, max_size=5),
        max_leaves=40,
    )
)
def test_evidence_that_is_laid_out_is_still_the_same_json(value: Json) -> None:
    shown = page._shown([value])
    assert json.loads(shown) == [value]


def test_what_was_left_behind_is_named() -> None:
    facts = tuple(
        replace(fact, picture=replace(fact.picture, entries=(*fact.picture.entries, ("disks", "/x/web.vda.qcow2"))))
        if isinstance(fact, PictureTaken) and fact.when == "after"
        else fact
        for fact in FACTS
    )
    reader = drawn(facts)
    assert "chi1: disks /x/web.vda.qcow2" in reader.text
    assert "Nothing was left behind" not in reader.text


def test_without_emulation_nothing_is_said_of_it() -> None:
    facts = tuple(replace(fact, accelerator="kvm") if isinstance(fact, HostSeen) else fact for fact in FACTS)
    assert "emulation" not in drawn(facts).text


# ------------------------------------------------------------------------------------------------- hostile names


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name["name"])
def test_a_hostile_name_is_text(name: dict[str, str]) -> None:
    honest, hostile = drawn(), drawn(renamed(FACTS, name["text"]))
    assert {tag for tag, _ in hostile.elements} <= ALLOWED
    assert not hostile.open
    assert visible(hostile.text, newlines=True) == hostile.text
    for wanted in ("html", "head", "meta", "link", "style", "title", "main", "nav"):
        assert len(hostile.every(wanted)) == len(honest.every(wanted))
    values = [value for _, attributes in hostile.elements for value in attributes.values() if value]
    assert all(visible(value) == value for value in values)
    assert not [name for _, attributes in hostile.elements for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name["name"])
def test_a_hostile_name_is_shown(name: dict[str, str]) -> None:
    text = spaced(drawn(renamed(FACTS, name["text"])).text)
    assert spaced(line(name["text"], 40)).removesuffix(")").split("… (")[0].strip() in text


def test_a_hundred_machines_make_a_page_of_bearable_size() -> None:
    facts: list[Fact] = []
    for fact in FACTS:
        vm = getattr(fact, "vm", "")
        facts += [_of(fact, f"{vm}{number:02d}") for number in range(34)] if vm else [fact]
    assert len(html.render(tuple(facts), HASH)) < 3 * 2**20


def _of(fact: Any, vm: str) -> Fact:
    """The same fact of another machine."""
    other: Fact = replace(fact, vm=vm)
    return other


# ------------------------------------------------------------------------------------------------------ timeline


def step(vm: str, name: str, begins: float, ends: float) -> StepEnded:
    return StepEnded(
        started_us=START_US + round(begins * 1e6),
        ended_us=START_US + round(ends * 1e6),
        vm=vm,
        step=name,
        outcome="done",
        detail="",
    )


def test_the_chain_that_set_the_rto_is_found_backwards() -> None:
    steps = [
        step("", "network", 0, 1),
        step("a", "disks", 0, 2),
        step("b", "disks", 0, 3),
        step("a", "start", 3.01, 5),
        step("a", "wait", 5, 9),
        step("b", "start", 3.01, 6),
        step("b", "check", 9, 12),
    ]
    found = timeline.chain(steps, START_US, START_US + 9_000_000)
    assert [(one.vm, one.step) for one in found] == [("b", "disks"), ("a", "start"), ("a", "wait")]


def test_steps_that_overlap_do_not_cover_each_other() -> None:
    drawing = timeline.build(tuple(step("a", f"s{number}", number * 0.5, number * 0.5 + 2) for number in range(8)))
    assert drawing is not None
    bars = [bar for lane in drawing.lanes for bar in lane.bars]
    for one in bars:
        for other in bars:
            assert one is other or one.y != other.y or one.x + one.width <= other.x or other.x + other.width <= one.x


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 10**17), (-(10**17), 10**17), (5, 1)])
def test_any_times_can_be_drawn(first: int, last: int) -> None:
    one = replace(step("a", "s", 0, 1), started_us=first, ended_us=last)
    start = replace(FACTS[0], at_us=last) if isinstance(FACTS[0], RunStarted) else FACTS[0]
    assert "<svg" in html.render((start, one), HASH)


# ----------------------------------------------------------------------------------------------------- the sample


def test_the_sample_report_is_what_its_record_gives() -> None:
    folder = data.path("reports", "sample")
    record = load(folder / "run.jsonl")
    assert (folder / "report.html").read_text(encoding="utf-8") == html.render(record.facts, record.last_hash)
