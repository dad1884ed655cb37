"""What a guest agent replies is a claim: used where it has the right shape, refused where it has not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drill.errors import BadInput
from drill.hypervisor.agent_reply import CHARACTERS_MAX, Reply
from drill.ports import Completed, GuestNic

CARD = {"name": "eth0", "hardware-address": "52:54:00:00:00:01"}
LOOPBACK = {"name": "lo", "hardware-address": "00:00:00:00:00:00"}


def reply(value: object) -> Reply:
    return Reply.parse(json.dumps({"return": value}), where="agent of guest web")


def card(**fields: object) -> Reply:
    return reply([{**CARD, **{key.replace("_", "-"): value for key, value in fields.items()}}])


def test_cards_are_read_without_the_loopback() -> None:
    addresses = [{"ip-address": "10.61.1.11", "prefix": 24}, {"ip-address": "FE80::1", "prefix": 64}]
    found = reply([LOOPBACK, {**CARD, "ip-addresses": addresses}, {"name": "sit0"}]).nics()
    assert found == (GuestNic(name="eth0", mac="52:54:00:00:00:01", addresses=("10.61.1.11/24", "fe80::1/64")),)


def test_output_is_decoded_and_cut() -> None:
    status = {"exited": True, "exitcode": 3, "out-data": "YWJjZA==", "err-data": ""}
    assert reply(status).completed(3) == Completed(exit_code=3, output=b"abc", errors=b"")


def test_a_killed_program_has_the_negative_signal_as_its_code() -> None:
    assert reply({"exited": True, "signal": 9}).completed(3).exit_code == -9


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="torn"),
        pytest.param("[]", id="no object"),
        pytest.param("{}", id="no return"),
        pytest.param('{"return": NaN}', id="not a number"),
        pytest.param('{"return": 1, "return": 2}', id="a key twice"),
        pytest.param('{"return": ' + "[" * 100_000, id="deep and torn"),
        pytest.param('{"return": ' + "[" * 100 + "]" * 100 + "}", id="deep"),
        pytest.param('{"return": "' + "a" * CHARACTERS_MAX + '"}', id="flooding"),
    ],
)
def test_a_reply_that_is_no_bounded_json_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="agent of guest web"):
        Reply.parse(text, where="agent of guest web")


@pytest.mark.parametrize(
    "cards",
    [
        pytest.param(reply(None), id="null"),
        pytest.param(reply({"name": "eth0"}), id="an object"),
        pytest.param(reply(["eth0"]), id="texts"),
        pytest.param(reply([CARD] * 257), id="too many cards"),
        pytest.param(card(name=7), id="a name that is a number"),
        pytest.param(card(name="e" * 65), id="a long name"),
        pytest.param(card(name="eth\x1b[2J"), id="a name that clears the terminal"),
        pytest.param(card(hardware_address="52:54:00:00:00:01<script>"), id="a MAC with markup"),
        pytest.param(card(hardware_address=1), id="a MAC that is a number"),
        pytest.param(card(ip_addresses={}), id="addresses that are no list"),
        pytest.param(card(ip_addresses=[{}]), id="an empty address"),
        pytest.param(card(ip_addresses=[{"ip-address": "10.0.0.1"}]), id="an address without prefix"),
        pytest.param(card(ip_addresses=[{"ip-address": "10.0.0.1", "prefix": 99}]), id="a prefix beyond the address"),
        pytest.param(card(ip_addresses=[{"ip-address": "10.0.0.1", "prefix": True}]), id="a prefix that is true"),
        pytest.param(card(ip_addresses=[{"ip-address": "a" * 65, "prefix": 1}]), id="a long address"),
    ],
)
def test_cards_of_the_wrong_shape_are_refused(cards: Reply) -> None:
    with pytest.raises(BadInput):
        cards.nics()


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"exited": True}, id="no code"),
        pytest.param({"exitcode": "0"}, id="a code that is a text"),
        pytest.param({"exitcode": 1.5}, id="half a code"),
        pytest.param({"exitcode": 0, "out-data": "*"}, id="no base64"),
        pytest.param({"exitcode": 0, "out-data": 1}, id="output that is a number"),
        pytest.param({"signal": -(2**70)}, id="a signal beyond all bounds"),
    ],
)
def test_results_of_the_wrong_shape_are_refused(status: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        reply(status).completed(100)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "hardware-address", "ip-addresses", "prefix"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(value=values)
def test_any_json_is_cards_or_refused(value: object) -> None:
    try:
        found = reply(value).nics()
    except BadInput:
        return
    assert all(isinstance(nic, GuestNic) for nic in found)
