"""Every file and every test that docs/protocol.md names is there."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/protocol.md"
COLUMNS = ["§", "requirement", "how", "where", "test"]
MISSING = re.compile(r"\byet\b|\bnone\b")


TEST = {
    ".c": re.compile(r"^static void (\w+)\(void \*\*state\)", re.MULTILINE),
    ".py": re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE),
}


@cache
def known() -> set[str]:
    """The names of all unit tests and Python tests."""
    files = [path for path in (ROOT / "tests").rglob("*") if path.suffix in TEST]
    return {name for path in files for name in TEST[path.suffix].findall(path.read_text())}


def is_file(name: str) -> bool:
    return (ROOT / "core" / name).is_file() or (ROOT / name).is_file()


def rows(page: str) -> list[list[str]]:
    """The cells of each requirement: what stands below a line of the five columns."""
    found, inside = [], False
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells == COLUMNS:
            inside = line.startswith("|")
        elif inside and set("".join(cells)) != {"-"}:
            found.append(cells)
    return found


def offences(page: str) -> list[str]:
    found = []
    for cells in rows(page):
        row = " ".join(cells)[:60]
        if len(cells) != len(COLUMNS):
            found.append(f"{row}: {len(cells)} cells")
            continue
        _, _, how, where, test = cells
        files, names = re.findall(r"`([^`]+)`", where), re.findall(r"`([^`]+)`", test)
        found += [f"{row}: no file {name}" for name in files if not is_file(name)]
        found += [
            f"{row}: no test {name}" for name in names if name not in known() and not is_file(name)
        ]
        if not (files and names) and not MISSING.search(how):
            found.append(f"{row}: no file or no test, and not said to be missing")
    return found


def test_every_file_and_test_that_is_named_is_there():
    page = PAGE.read_text()
    assert len(rows(page)) > 90, "nothing to check: the tables have moved?"
    assert offences(page) == []


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ("`proto/frame.c` | `test_drain_s`", None),
        ("`proto/frames.c` | `test_drain_s`", "no file proto/frames.c"),
        ("`proto/frame.c` | `test_drain`", "no test test_drain"),
        ("`proto/frame.c` | `lengths_take_their_shortest_form`, `x`", "no test x"),
        ("`proto/frame.c` | `tests/acceptance/other_clients`", None),
        ("`proto/frame.c` | ", "no file or no test"),
        (" | `test_drain_s`", "no file or no test"),
        ("`proto/frame.c`", "4 cells"),
    ],
)
def test_what_is_not_there_is_found(cells, why):
    found = offences(f"| {' | '.join(COLUMNS)} |\n| 1 | MUST | so | {cells} |")
    assert [why in line for line in found] == ([True] if why else [])
