"""One reading of a database URL, as people have it; what we would not act on is refused, and nothing secret is told."""

from pathlib import Path

import pytest

from payscore_worker.storage.url import PORT, Postgresql, Sqlite, UnreadableUrl, read_url


def postgresql(url: str) -> Postgresql:
    found = read_url(url)
    assert isinstance(found, Postgresql)
    return found


def complaint(url: str) -> str:
    with pytest.raises(UnreadableUrl) as caught:
        read_url(url)
    text = str(caught.value)
    assert text.isprintable()
    return text


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"])
def test_every_scheme_that_people_paste_means_the_same(scheme: str) -> None:
    url = postgresql(f"{scheme}://pay:word@db:6432/payscore")

    assert (url.hosts, url.user, url.password, url.database) == ((("db", 6432),), "pay", "word", "payscore")


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ("db", (("db", PORT),)),
        ("db1:5433,db2:5434", (("db1", 5433), ("db2", 5434))),
        ("db1,db2:5434", (("db1", PORT), ("db2", 5434))),
        ("[::1]:5433,127.0.0.1", (("::1", 5433), ("127.0.0.1", PORT))),
        ("%2Fvar%2Frun%2Fpostgresql", (("/var/run/postgresql", PORT),)),
        ("", ()),
    ],
)
def test_hosts_may_be_several(hosts: str, found: object) -> None:
    assert postgresql(f"postgresql://pay@{hosts}/payscore").hosts == found


def test_hosts_may_stand_among_the_parameters() -> None:
    assert postgresql("postgresql://pay@/db?host=/run/postgresql").hosts == (("/run/postgresql", PORT),)
    assert postgresql("postgresql://pay@/db?host=a,b&port=1,2").hosts == (("a", 1), ("b", 2))
    assert postgresql("postgresql://?host=a&user=pay&password=w&dbname=db") == postgresql("postgresql://pay:w@a/db")


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "pa:ss", "p%40ss", "?", "100%25"])
def test_a_password_may_hold_what_a_url_may_not(password: str) -> None:
    url = postgresql(f"postgresql://pay:{password}@db/payscore?sslmode=require")

    assert url.password == password.replace("%40", "@").replace("%25", "%")
    assert (url.user, url.hosts, url.database) == ("pay", (("db", PORT),), "payscore")
    assert url.password not in repr(url)


def test_parameters_go_to_whom_they_are_for() -> None:
    url = postgresql(
        "postgresql://db/x?sslmode=verify-full&connect_timeout=7&application_name=pay&search_path=a,b"
        "&options=-c%20geqo%3Doff&target_session_attrs=primary"
    )

    assert url.dsn == "postgresql://?sslmode=verify-full"
    assert url.connect_seconds == 7
    assert url.primary == "primary"
    assert url.server_settings == {"application_name": "pay", "search_path": "a,b", "options": "-c geqo=off"}


def test_of_several_hosts_the_primary_is_wanted_without_being_told() -> None:
    assert postgresql("postgresql://a,b/db").primary == "read-write"
    assert postgresql("postgresql://a/db").primary == "any"


def test_one_of_several_hosts_is_given_less_time() -> None:
    assert postgresql("postgresql://a,b/db").connect_seconds < postgresql("postgresql://a/db").connect_seconds


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("sslmod=require", "parameter sslmod: not one that we act on; did you mean sslmode?"),
        ("channel_binding=require", "parameter channel_binding: not one that we act on; leave it out"),
        ("statement_cache_size=0", "say pgbouncer=true"),
        ("sslmode=strict", "parameter sslmode: it should be disable, allow, "),
        ("target_session_attrs=standby", "parameter target_session_attrs: it should be any, primary or read-write"),
        ("pgbouncer=1", "parameter pgbouncer: it should be true or false"),
        ("connect_timeout=0", "parameter connect_timeout: it should be seconds, 1 to 60"),
        ("connect_timeout=soon", "parameter connect_timeout: "),
        ("sslrootcert=/nowhere/ca.pem", "parameter sslrootcert: the file that it names cannot be read"),
        ("sslrootcert=system", "parameter sslrootcert: name a file"),
        ("pgbouncer=true&search_path=pay", "parameter search_path: it does not pass PgBouncer"),
        ("pgbouncer=true&statement_timeout=1", "parameter statement_timeout: it does not pass PgBouncer"),
        ("sslmode", "its parameters cannot be read"),
        ("a%0Ab=1", "parameter of another form: "),
        ("host=a,b&port=1,2,3", "parameter port: "),
    ],
)
def test_a_parameter_that_we_would_not_act_on_is_refused_by_name(parameter: str, said: str) -> None:
    host = "" if parameter.startswith("host") else "db"

    assert said in complaint(f"postgresql://pay:word@{host}/payscore?{parameter}")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://pay:wo@rd@db/payscore",
        "postgresql://pay:wo?rd=1@db/payscore",
        "postgresql://pay:word@db:port/payscore",
        "postgresql://pay:word@db:99999/payscore",
        "postgresql://pay:word@db:0/payscore",
        "postgresql://pay:word@a,,b/payscore",
        "postgresql://pay:word@[::1/payscore",
        "postgresql://db/payscore?application_name=word@home",
        "postgresql://pay:word@db/payscore?wo@rd",
        "mysql://pay:word@db/payscore",
    ],
)
def test_what_cannot_be_read_is_refused_without_a_word_of_it(url: str) -> None:
    text = complaint(url).replace("user, password and host", "")

    assert not any(part in text for part in ("wo", "rd", "pay"))


def test_a_file_of_sqlite_is_a_file(tmp_path: Path) -> None:
    assert read_url("sqlite+aiosqlite:///payscore.db") == Sqlite(Path("payscore.db"))
    assert read_url(f"sqlite+aiosqlite:///{tmp_path}/a.db") == Sqlite(tmp_path / "a.db")
    assert "takes no parameters" in complaint("sqlite+aiosqlite:///payscore.db?timeout=5")
    assert "names no file" in complaint("sqlite:///payscore.db")
