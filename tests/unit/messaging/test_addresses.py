"""One address or several, comma between; what cannot be meant is refused, and no password is told."""

import pytest

from payscore_worker.messaging.addresses import Malformed, broker_urls, check_files, resolve, vhost


def test_one_address_is_read_with_the_port_of_its_scheme() -> None:
    assert [url.port for text in ("amqp://h/", "amqps://h", "amqp://h:1/") for url in broker_urls(text)] == [
        5672,
        5671,
        1,
    ]


def test_several_addresses_are_read_with_users_and_parameters_of_their_own() -> None:
    first, second = broker_urls("amqp://a:p%2Cq@one/rides,amqps://b:r@two:7/rides?heartbeat=9")

    assert (first.host, first.port, first.password, dict(first.query)) == ("one", 5672, "p,q", {})
    assert (second.host, second.port, second.password, dict(second.query)) == ("two", 7, "r", {"heartbeat": "9"})


@pytest.mark.parametrize(
    ("text", "name"),
    [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2F", "/"), ("amqp://h/v", "v"), ("amqp://h/a%2Fb", "a/b")],
)
def test_the_virtual_host_is_named_as_rabbitmq_knows_it(text: str, name: str) -> None:
    assert vhost(broker_urls(text)[0]) == name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("amqp://u:hunter2@one/a,amqp://u:hunter2@two/b", "its addresses name different virtual hosts"),
        ("amqp://u:hunter2@one,two/", "each further address is written out whole"),
        ("amqp://u:hunter2@one,two:5672/", "each further address is written out whole"),
        ("amqp://u:hunter2@one:99999/", "its host or port cannot be read"),
        ("amqp://u:hunt/er2@one/", "its host or port cannot be read"),
        ("amqp:///", "its host cannot be read"),
        ("amqp://u:hunter2@one/?hartbeat=5", "unknown parameter 'hartbeat'"),
        ("amqp://u:hunter2@one/?heartbeat=soon", "heartbeat should be whole seconds"),
        ("amqp://u:hunter2@one/?heartbeat=0", "heartbeat should be whole seconds"),
        ("amqp://one/?heartbeat=" + "9" * 5000, "heartbeat should be whole seconds"),
        ("amqps://one/?cadata=x", "cadata should be"),
        ("amqps://one/?auth=magic", "auth should be plain or external"),
        ("amqp://one/?cafile=/etc/ca.pem", "cafile is for amqps"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_telling_the_password(text: str, why: str) -> None:
    with pytest.raises(Malformed, match=why) as raised:
        broker_urls(text)

    assert "hunt" not in str(raised.value)


@pytest.mark.parametrize("file", ["/no/such/file", "a%00b", "%ED%A0%80", "x" * 5000])
def test_a_file_that_cannot_be_read_is_named_by_its_parameter(file: str) -> None:
    urls = broker_urls(f"amqps://one/?keyfile={file}")

    with pytest.raises(Malformed, match="the keyfile it names cannot be read"):
        check_files(urls)


async def test_reconnections_spread_over_the_addresses() -> None:
    orders = {
        tuple([address.host for address in await resolve("amqp://127.0.0.1/,amqp://127.0.0.2/")]) for _ in "x" * 64
    }

    assert orders == {("127.0.0.1", "127.0.0.2"), ("127.0.0.2", "127.0.0.1")}
