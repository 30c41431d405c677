from collections.abc import Iterator

import pytest

from deploy.local.postgresql import find_programs
from tests.integration.databases import database_url, dialect, empty_database_url, storage
from tests.integration.storage.servers import Server, a_server

__all__ = ["database_url", "dialect", "empty_database_url", "storage"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL that a test may ask for passwords and TLS; it starts once for each process that runs tests."""
    if find_programs() is None:
        pytest.skip("PostgreSQL's programs are not installed here")
    with a_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server
