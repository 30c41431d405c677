"""Prints the definitions with the passwords that lie in a directory, one file for each user, named after it.

    python deploy/rabbitmq/with_passwords.py DIRECTORY >definitions.json
    rabbitmqctl import_definitions definitions.json

A user without a file keeps its empty hash, with which nobody can log in. Standard library only: it runs anywhere.
"""

import base64
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

DEFINITIONS = Path(__file__).with_name("definitions.json")
SALT_BYTES = 4  # what RabbitMQ's scheme has


def definitions(passwords: Path) -> dict[str, Any]:
    """Read the definitions, and give a password to every user that has a file."""
    document: dict[str, Any] = json.loads(DEFINITIONS.read_text(encoding="utf-8"))
    for user in document["users"]:
        file = passwords / user["name"]
        if file.exists():
            user["password_hash"] = password_hash(file.read_text(encoding="utf-8").strip(), os.urandom(SALT_BYTES))
    return document


def password_hash(password: str, salt: bytes) -> str:
    """Hash as rabbit_password_hashing_sha256 does: the salt, and SHA-256 of salt and password."""
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


if __name__ == "__main__":
    json.dump(definitions(Path(sys.argv[1])), sys.stdout, indent=2)
