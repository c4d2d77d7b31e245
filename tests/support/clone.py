"""A clean clone of HEAD, and what a newcomer's shell has."""

import os
import subprocess
from pathlib import Path

from support.host import ROOT, environment


def git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def clone(into: Path, report) -> Path:
    git("clone", "--quiet", "--no-hardlinks", str(ROOT), str(into))
    report.figure("commit", git("rev-parse", "--short", "HEAD"))
    report.figure("uncommitted_files", len(git("status", "--porcelain").splitlines()))
    return into


def newcomer() -> dict[str, str]:
    """Nothing of the make that runs this, nor of its virtual environment."""
    own = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PERIGEE", "ASAN_OPTIONS", "UBSAN_OPTIONS")
    clean = {name: value for name, value in environment().items() if name not in own}
    venv = str(ROOT / "build/venv/bin")
    clean["PATH"] = ":".join(part for part in os.environ["PATH"].split(":") if part != venv)
    return clean
