"""Makes the passwords of a Compose installation, once, and the files that bring them to who needs them.

Each directory is a volume, mounted where its files are needed and nowhere else. What is there already stays.
"""

import importlib.util
import json
import secrets
import sys
from pathlib import Path
from types import ModuleType

USERS = ("payscore-worker", "payscore-webhook", "payscore-operator", "ride-service")
PASSWORD_BYTES = 24


def main(root: Path, settings: Path, with_passwords: Path) -> None:
    """Fill the volumes; the demo's settings go: they are written again where a demo is wanted."""
    passwords = {user: _password(root / "passwords" / user) for user in (*USERS, "postgresql", "grafana", "console")}
    for user in USERS:
        name = user.removeprefix("payscore-")
        url = f"amqp://{user}:{passwords[user]}@rabbitmq:5672/payscore"
        _write(settings / f"amqp-url-{name}", url)
    management = f"http://payscore-operator:{passwords['payscore-operator']}@rabbitmq:15672"
    _write(settings / "management-url", management)
    database = f"postgresql+asyncpg://payscore:{passwords['postgresql']}@postgresql/payscore"
    _write(settings / "database-url", database)
    _write(settings / "ops-token", passwords["console"])
    _write(root / "postgresql" / "password", passwords["postgresql"])
    _write(root / "grafana" / "password", passwords["grafana"])
    definitions = root / "rabbitmq" / "definitions.json"
    if not definitions.exists():  # salted anew each time, it would look changed
        _write(definitions, json.dumps(_load(with_passwords).definitions(root / "passwords"), indent=2))
    (settings / ".env").unlink(missing_ok=True)


def _password(file: Path) -> str:
    if not file.exists():
        _write(file, secrets.token_hex(PASSWORD_BYTES))
    return file.read_text(encoding="utf-8")


def _write(file: Path, text: str) -> None:
    """Write it readable for all: the servers that read it run under ids of their own, and see this directory alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
