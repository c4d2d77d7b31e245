"""docs/configuration.md has the tables that the program reads its settings by, and every limit has
its reason in docs/operations.md."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/configuration.md"


@pytest.fixture(scope="module")
def tables() -> Path:
    program = os.environ.get("PERIGEE") or ROOT / "build/asan/perigee"
    return Path(program).with_name("settings_tables")


def limits(tables) -> set[str]:
    text = subprocess.run([tables, "limits"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


def test_the_page_is_as_make_docs_writes_it(tables):
    done = subprocess.run(
        [ROOT / "tools/docs", tables, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr}"
    assert PAGE.read_text().count("<!-- made by `make docs`") == 2


def test_a_stale_page_is_found(tables, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "tools/docs").write_text((ROOT / "tools/docs").read_text())
    page = tmp_path / "docs/configuration.md"
    page.write_text(PAGE.read_text().replace("| `message_bytes` * |", "| `message_size` * |"))
    command = ["python3", tmp_path / "tools/docs", tables]
    stale = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert stale.returncode == 1 and "+| `message_bytes` * |" in stale.stdout
    assert subprocess.run(command, check=False).returncode == 0
    assert page.read_text() == PAGE.read_text()


def test_every_limit_has_its_reason_in_operations(tables):
    text = (ROOT / "docs/operations.md").read_text().split("\n## Limits\n", 1)[1]
    reasons = dict(re.findall(r"^\| `(\w+)` \| (\S.*) \|$", text, re.MULTILINE))
    assert set(reasons) == limits(tables)
