"""The run record: what was written is read back, and whatever was done to the file is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.core.canonical import LINE_BYTES_MAX
from drill.errors import BadInput, Damaged, DrillError, Failed, Refused, Usage
from drill.model.fact import FACTS, Fact, IncidentDeclared, Json, Observed, RunStarted
from drill.reporting.record import GENESIS, RunWriter, encode, find, load, read
from tests.runs import at, passing

RUN = passing()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with RunWriter(tmp_path) as writer:
        writer.append(*RUN)
    return tmp_path / "run.jsonl"


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def forged(body: dict[str, object]) -> bytes:
    """A line with a hash that fits, as a forger who knows the format would write it."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    body = {**body, "hash": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def first(**changes: object) -> dict[str, object]:
    """The content of a first line that is right but for the changes."""
    return {"n": 1, "fact": "IncidentDeclared", "data": {"at_us": 1}, "previous": GENESIS, **changes}


def test_every_kind_of_fact_is_read_back_as_it_was_written(written: Path) -> None:
    assert {type(fact) for fact in RUN} == set(FACTS.values())
    assert read(written) == RUN


def test_a_line_is_canonical_and_its_hash_can_be_checked_by_other_tools(written: Path) -> None:
    previous = GENESIS
    for number, line in enumerate(lines(written), 1):
        entry = json.loads(line)
        stated = entry.pop("hash")
        assert (entry["n"], entry["previous"]) == (number, previous)
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == stated
        previous = stated
    assert load(written).last_hash == previous


JSON: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.text())
def test_any_json_and_any_text_survive(value: Json, text: str) -> None:
    fact = Observed(at_us=1, check="x", vm=text, expected=None, observed=value, evidence=value, error="")
    line, _ = encode(fact, 1, GENESIS)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    data = json.loads(line)["data"]
    assert (data["observed"], data["vm"]) == (value, text)


def test_half_characters_of_a_hostile_guest_are_spelled_out(tmp_path: Path) -> None:
    fact = Observed(
        at_us=1, check="x", vm="\ud800", expected=None, observed={"\udc00": ["a\udfff"]}, evidence=None, error=""
    )
    with RunWriter(tmp_path) as writer:
        writer.append(fact)
    assert read(writer.path) == (replace(fact, vm="\\ud800", observed={"\\udc00": ["a\\udfff"]}),)


def test_a_whole_number_in_a_field_of_seconds_is_read_back(tmp_path: Path) -> None:
    start = RUN[0]
    assert isinstance(start, RunStarted)
    start = replace(start, rpo_objective_seconds=60)
    with RunWriter(tmp_path) as writer:
        writer.append(start)
    assert read(writer.path) == (start,)


# --------------------------------------------------------------------------------------------------- tampering


def test_any_changed_byte_is_found(written: Path) -> None:
    content = written.read_bytes()
    for index in range(0, len(content) - 1, 97):
        flipped = bytes([content[index] ^ 0x01])
        written.write_bytes(content[:index] + flipped + content[index + 1 :])
        with pytest.raises(DrillError):
            read(written)


@pytest.mark.parametrize("at_line", [0, 1, 20, len(RUN) - 2])
def test_a_line_taken_out_is_found_and_the_next_one_named(written: Path, at_line: int) -> None:
    kept = lines(written)
    del kept[at_line]
    written.write_bytes(b"".join(kept))
    with pytest.raises(Damaged, match=rf"run\.jsonl:{at_line + 1} "):
        read(written)


def test_lines_exchanged_or_repeated_are_found(written: Path) -> None:
    kept = lines(written)
    written.write_bytes(b"".join([*kept[:3], kept[4], kept[3], *kept[5:]]))
    with pytest.raises(Damaged, match=r"run\.jsonl:4 .*follow"):
        read(written)
    written.write_bytes(b"".join([*kept[:3], kept[2], *kept[3:]]))
    with pytest.raises(Damaged, match=r"run\.jsonl:4 .*follow"):
        read(written)


def test_a_line_of_another_run_is_found(written: Path, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "other") as writer:
        writer.append(IncidentDeclared(at_us=1), *RUN[1:])
    written.write_bytes(b"".join([*lines(written)[:5], *lines(writer.path)[5:]]))
    with pytest.raises(Damaged, match=r"run\.jsonl:6 .*follow"):
        read(written)


FORGED = {
    "an unknown fact": (first(fact="Miracle"), "unknown fact 'Miracle'"),
    "a fact that is no text": (first(fact=7), "unknown fact"),
    "an unknown field": (first(data={"at_us": 1, "mood": "good"}), "fields that this version does not know"),
    "a missing field": (first(data={}), "at_us: Field required"),
    "a field of another kind": (first(data={"at_us": "1"}), "at_us: Input should be a valid integer"),
    "a number that is a boolean": (first(data={"at_us": True}), "at_us"),
    "data that is a list": (first(data=[1]), "IncidentDeclared"),
    "a line too many keys": (first(extra=1), "not a line of a run record"),
    "a wrong number": (first(n=2), "its own number"),
    "a number that is true": (first(n=True), "its own number"),
    "a number that is a fraction": (first(n=1.0), "its own number"),
    "another beginning": (first(previous="0" * 64), "does not follow"),
    "an integer beyond 64 bits": (first(data={"at_us": 10**19}), "integer of more than 18 digits"),
    "an abyss": (first(data=json.loads("[" * 40 + "]" * 40)), "nested deeper than 32"),
}


@pytest.mark.parametrize(("body", "problem"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_line_is_refused_by_its_content(tmp_path: Path, body: dict[str, object], problem: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(forged(body))
    with pytest.raises((BadInput, Damaged), match=problem) as caught:
        read(path)
    assert "run.jsonl:1" in str(caught.value)


RAW = {
    "a key twice": (b'{"n":1,"n":1}', "twice"),
    "a key twice inside": (b'{"data":{"a":1,"a":2}}', "twice"),
    "NaN": (b'{"n":NaN}', "NaN is not a number"),
    "infinity": (b'{"n":-Infinity}', "not a number"),
    "a number too large": (b'{"n":1e999}', "not a number"),
    "an endless integer": (b'{"n":' + b"9" * 5000 + b"}", "integer of more than"),
    "an endless abyss": (b"[" * 200_000, "nested deeper"),
    "no JSON": (b"hello", "not JSON"),
    "nothing": (b"", "not JSON"),
    "bytes that are no text": (b'{"n":"\xff"}', "not ASCII"),
    "no object": (b"[1]", "not a line of a run record"),
    "no canonical form": (forged(first())[:-1].replace(b'{"data"', b'{ "data"'), "canonical"),
}


@pytest.mark.parametrize(("line", "problem"), RAW.values(), ids=RAW.keys())
def test_a_line_that_is_no_line_of_a_record_is_refused(tmp_path: Path, line: bytes, problem: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(BadInput, match=problem):
        read(path)


def test_a_line_beyond_the_cap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'"' + b"x" * LINE_BYTES_MAX + b'"\n')
    with pytest.raises(BadInput, match="longer than"):
        read(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**30, {"a": b"bytes"}], ids=repr)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, value: Json) -> None:
    bad = Observed(at_us=1, check="x", vm="", expected=None, observed=value, evidence=None, error="")
    with RunWriter(tmp_path) as writer:
        with pytest.raises(BadInput):
            writer.append(IncidentDeclared(at_us=1), bad)
        writer.append(IncidentDeclared(at_us=2))
    assert read(writer.path) == (IncidentDeclared(at_us=2),)


# -------------------------------------------------------------------------------------- interruption, several at once


def test_a_record_is_whole_after_every_append(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        for count, fact in enumerate(RUN, 1):
            writer.append(fact)
            assert read(writer.path) == RUN[:count]


def test_a_record_reopened_goes_on_where_it_ended(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.append(*RUN[:7])
    with RunWriter(tmp_path) as writer:
        assert (writer.record.facts, writer.record.torn_bytes) == (RUN[:7], 0)
        writer.append(*RUN[7:])
    assert read(writer.path) == RUN


@pytest.mark.parametrize("cut", [1, 2, 40, 120])
def test_a_torn_last_line_is_refused_by_read_and_cut_off_by_the_writer(
    written: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    lines_whole = lines(written)
    written.write_bytes(b"".join(lines_whole[:9]) + lines_whole[9][:-cut])
    with pytest.raises(Damaged, match="torn"):
        read(written)
    assert load(written).facts == RUN[:9]
    with RunWriter(written.parent) as writer:
        assert writer.record.torn_bytes == len(lines_whole[9]) - cut
        writer.append(*RUN[9:])
    assert "torn last line cut off" in caplog.text
    assert read(written) == RUN


def test_bytes_after_the_end_of_a_run_are_damage_not_a_torn_line(written: Path) -> None:
    with written.open("ab") as file:
        file.write(b'{"data"')
    with pytest.raises(Damaged, match="7 bytes follow the end of the run"):
        load(written)


def test_a_damaged_record_is_not_continued(written: Path) -> None:
    written.write_bytes(b"".join(lines(written)[1:]))
    before = written.read_bytes()
    with pytest.raises(Damaged):
        RunWriter(written.parent)
    assert written.read_bytes() == before


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path), pytest.raises(Refused, match="being written"):
        RunWriter(tmp_path)
    RunWriter(tmp_path).close()


def test_threads_write_one_chain(tmp_path: Path) -> None:
    def write(own: int) -> None:
        for number in range(20):
            writer.append(IncidentDeclared(at_us=own * 100 + number))

    with RunWriter(tmp_path) as writer:
        threads = [threading.Thread(target=write, args=(own,)) for own in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(fact.at_us for fact in read(writer.path) if isinstance(fact, IncidentDeclared)) == [
        own * 100 + n for own in range(8) for n in range(20)
    ]


def test_after_a_disk_that_refuses_nothing_more_is_written_and_nothing_is_lost(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.append(*RUN[:3])
    os.close(writer._file)  # the closest a test comes to a disk that is gone
    with pytest.raises(Failed):
        _append_on_a_closed_descriptor(writer)
    with pytest.raises(Failed, match="closed"):
        writer.append(RUN[4])
    assert read(writer.path) == RUN[:3]


def _append_on_a_closed_descriptor(writer: RunWriter) -> None:
    writer._file = os.open("/dev/full", os.O_WRONLY)
    writer.append(RUN[3])


def test_closing_twice_is_fine_and_a_closed_record_takes_nothing(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(Failed, match="closed"):
        writer.append(RUN[0])


# -------------------------------------------------------------------------------------------------------- finding


def test_a_run_is_found_by_its_id_its_folder_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_REPORTS_DIR", str(tmp_path))
    with RunWriter(tmp_path / "r-1") as writer:
        writer.append(IncidentDeclared(at_us=at(0)))
    assert {find(name).resolve() for name in ("r-1", str(writer.path.parent), str(writer.path))} == {
        writer.path.resolve()
    }


@pytest.mark.parametrize("name", ["r-2", "", "../x", "a/b", "x" * 5000, "a\nb", "\x00", ".."])
def test_a_run_that_is_not_there_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Usage):
        find(name)


def test_a_record_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        RunWriter(tmp_path)


def test_an_empty_file_holds_no_facts(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").touch()
    facts: tuple[Fact, ...] = read(tmp_path / "run.jsonl")
    assert facts == ()
