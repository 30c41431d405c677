"""A server on loopback that says what it is told to say."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

HANGS_UP = b""
GREETING_BYTES = 4096  # more than any greeting of a client
DEADLINE_SECONDS = 60.0  # for a client that never comes


@pytest.fixture
def answering() -> Iterator[Callable[..., int]]:
    """`answering(b"…", b"…")` is the port of a server that answers each thing it hears with the next of these."""
    with ThreadPoolExecutor() as threads:

        def start(*answers: bytes) -> int:
            listener = socket.create_server(("127.0.0.1", 0))
            listener.settimeout(DEADLINE_SECONDS)
            threads.submit(_answer_once, listener, answers)
            port: int = listener.getsockname()[1]
            return port

        yield start


def _answer_once(listener: socket.socket, answers: tuple[bytes, ...]) -> None:
    with listener:
        connection, _ = listener.accept()
    with connection:
        for answer in answers:
            connection.recv(GREETING_BYTES)
            if answer == HANGS_UP:
                return
            connection.sendall(answer)
        while connection.recv(GREETING_BYTES):
            pass  # silent, until the client hangs up
