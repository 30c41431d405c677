from datetime import UTC, datetime

import pytest

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.payscore import PermissionState, ServiceChange
from payscore_worker.wechatpay.payscore.service import read_change, read_permission, read_service_state

CHANGE = {
    "mchid": "1230000109",
    "appid": "wx1",
    "service_id": "500001",
    "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "user_service_status": "USER_OPEN_SERVICE",
    "openorclose_time": "20210624163720",
}


def test_the_service_state_says_whether_it_is_enabled() -> None:
    assert read_service_state({"use_service_state": "AVAILABLE"}).state is PermissionState.AVAILABLE
    assert read_service_state({"use_service_state": "UNAVAILABLE"}).state is PermissionState.UNAVAILABLE


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "use_service_state: neither AVAILABLE nor UNAVAILABLE"),
        ("", "use_service_state: neither AVAILABLE nor UNAVAILABLE"),
        ("MAYBE", "use_service_state: neither AVAILABLE nor UNAVAILABLE"),
        (1, "use_service_state: expected a string, not int"),
    ],
)
def test_another_service_state_is_not_guessed(state: object, said: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^{said}$"):
        read_service_state({"use_service_state": state})


@pytest.mark.parametrize("state", [None, "", "available", 1])
def test_another_state_of_an_authorisation_is_not_guessed(state: object) -> None:
    with pytest.raises(MalformedMessage, match=r"^authorization_state: "):
        read_permission({"authorization_state": state})


@pytest.mark.parametrize("member", ["authorization_code", "out_request_no"])
def test_a_change_names_the_number_it_is_about_in_either_flow(member: str) -> None:
    assert read_change(CHANGE | {member: "n1"}).number == "n1"
    assert read_change(CHANGE).number == ""


@pytest.mark.parametrize("time", ["20210624163720", "2021-06-24T16:37:20+08:00"])
def test_an_opened_service_is_read_with_its_time(time: str) -> None:
    assert read_change(CHANGE | {"openorclose_time": time}) == ServiceChange(
        mchid="1230000109",
        appid="wx1",
        service_id="500001",
        openid="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        enabled=True,
        changed_at=datetime(2021, 6, 24, 8, 37, 20, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+08:00", "00010101000000", "9999-12-31T23:59:59-12:00", "yesterday", "20261301000000"]
)
def test_a_time_that_nothing_can_be_reckoned_with_is_refused_by_the_name_of_its_member(time: str) -> None:
    with pytest.raises(MalformedMessage, match="openorclose_time"):
        read_change(CHANGE | {"openorclose_time": time})


def test_a_change_may_leave_its_time_out() -> None:
    assert read_change({name: value for name, value in CHANGE.items() if name != "openorclose_time"}).changed_at is None


def test_a_closed_service_is_read() -> None:
    assert not read_change(CHANGE | {"user_service_status": "USER_CLOSE_SERVICE"}).enabled


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("user_service_status", "user_service_status: neither USER_OPEN_SERVICE nor USER_CLOSE_SERVICE"),
        ("openid", "openid: missing"),
    ],
)
def test_a_change_without_what_matters_is_refused(member: str, said: str) -> None:
    with pytest.raises(MalformedMessage, match=f"^{said}$"):
        read_change({name: value for name, value in CHANGE.items() if name != member})


def test_the_passenger_is_not_shown() -> None:
    assert CHANGE["openid"] not in repr(read_change(CHANGE))
