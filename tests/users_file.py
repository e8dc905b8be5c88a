"""A file of users whose passwords cost nothing to check."""

from __future__ import annotations

from pathlib import Path

from redqueue.access.passwords import hash_password


def write_users(path: Path, **users: str) -> Path:
    """Write a file of users, each with ``password role=pattern role=pattern``; returns the path."""
    lines = []
    for name, text in users.items():
        password, *grants = text.split()
        lines.append(" ".join([name, str(hash_password(password.encode(), ln=4, r=8, p=1)), *grants]))
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
