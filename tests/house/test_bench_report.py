"""What tests/bench makes of its measurements: the figures that docs/performance.md shows."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/bench"))

import report  # noqa: E402
import rows  # noqa: E402
import servers  # noqa: E402
from peers import PEERS  # noqa: E402

ECHO, DEFLATED, CONNECT, IDLE = (
    next(row for row in rows.ROWS if row.name == name)
    for name in ("echo64", "deflate1kib", "connect", "idle")
)
TIMES = dict.fromkeys(("p50_ms", "p99_ms", "p999_ms", "max_ms"), 1.0)
CORES = {"server_core": 1.0, "load_core": 0.9, "others": 0.0}
ABOUT = {
    "machine": {
        **{"cpu": "a processor", "cores": 2, "server_core": 0, "load_core": 1, "memory_gib": 4.0},
        **{"kernel": "Linux", "system": "Debian", "compiler": "cc"},
    },
    "versions": {"perigee": "0.1.0"},
    **{"rounds": 3, "seconds": 1, "seed": 7, "begun": "2026-01-01"},
}


def round_of(cpu_us: float, rate: float = 1000) -> dict:
    return {"cpu_us": cpu_us, "rate": rate} | TIMES | CORES


@pytest.fixture
def results() -> report.Results:
    made = report.Results([ECHO, DEFLATED, CONNECT, IDLE], [*servers.OURS, *PEERS])
    cells = made.cells["echo64"]
    # A machine that is twice as slow in the second round, and all that were asked in it.
    cells["floor"].rounds = {1: round_of(4.0), 2: round_of(8.0), 3: round_of(4.4)}
    cells["perigee"].rounds = {1: round_of(5.0), 2: round_of(10.0), 3: round_of(4.0)}
    cells["node_ws"].rounds = {1: round_of(10.0), 3: round_of(12.0)}
    cells["gorilla"].rounds = {2: round_of(9.0)}
    cells["nginx"].not_run = "not installed"
    return made


def test_a_ratio_is_the_median_of_what_each_round_says(results):
    assert results.ratios(ECHO, "perigee", "floor") == [0.8, 0.8, 1.1]
    assert results.ratio(ECHO, "perigee", "floor") == 0.8


def test_rounds_that_only_one_took_part_in_are_no_pairs(results):
    assert results.ratios(ECHO, "node_ws", "floor") == [0.4, pytest.approx(4.4 / 12)]
    assert results.ratios(ECHO, "node_ws", "gorilla") == []
    assert results.ratio(ECHO, "node_ws", "gorilla") is None


def test_the_best_peer_is_the_one_that_needs_least_in_the_same_rounds(results):
    peer, times = results.best_peer(ECHO)
    assert (peer.name, times) == ("gorilla", 0.9)  # 9 to our 10, in that slow round


def test_verdicts_say_what_was_reached_and_what_was_missed(results):
    missed, behind = results.verdicts(ECHO)
    assert missed == "missed: 0.800 of floor, goal 0.97"
    assert behind.startswith("missed: Go gorilla/websocket") and "0.90 of our CPU" in behind

    results.cells["connect"]["perigee"].rounds = {1: round_of(1.0), 2: round_of(2.0)}
    results.cells["connect"]["node_ws"].rounds = {1: round_of(4.0), 2: round_of(7.0)}
    first, second = results.verdicts(CONNECT)
    assert first == "reached: 3.75 times as many by a core's work as node_ws, goal 3"
    assert second.startswith("reached: Node ws") and "3.75 of our CPU" in second

    results.cells["idle"]["perigee"].rounds = {1: {"resident_bytes": 320.0, "heap_bytes": 300.0}}
    assert results.verdicts(IDLE) == ["reached: 320 bytes, goal 320"]


def test_a_row_is_bounded_where_its_bound_falls_short_too_and_perigee_is_near(results):
    row = results.rows[0] = replace(ECHO, bound="lua_floor", of_bound=0.93)
    lua = results.cells["echo64"]["lua_floor"]
    assert not results.is_bounded(row)  # not measured
    for cpu_us, bounded, verdict in (
        (4.8, True, "bounded: lua_floor has 0.833 of floor, and perigee 0.960 of that, goal 0.93"),
        (4.1, False, "not bounded: lua_floor has 0.976 of floor, and perigee 0.820 of that"),
        (4.6, False, "not bounded: lua_floor has 0.870 of floor, and perigee 0.920 of that"),
    ):
        lua.rounds = {1: round_of(cpu_us)}
        assert results.is_bounded(row) == bounded
        assert results.verdicts(row)[1].startswith(verdict)
    assert "0.80 of floor; 0.92 of lua_floor, which has 0.87 |" in results.markdown(ABOUT)


def test_who_does_not_take_part_is_named_with_the_reason(results):
    assert "nginx, lua-resty-websock not run: not installed" in results.text()
    assert (
        "Not run, or not to the end: nginx, lua-resty-websocket: not installed."
        in results.markdown(ABOUT)
    )


def test_the_figures_are_written_for_programs_too(results, tmp_path):
    report.write(tmp_path / "a.json", results, {"seed": 7})
    written = json.loads((tmp_path / "a.json").read_text())
    row = written["rows"]["echo64"]
    assert written["seed"] == 7 and row["goal"] == 0.97
    assert row["servers"]["perigee"]["of_floor"] == 0.8
    assert row["servers"]["perigee"]["of_each_round"] == [0.8, 0.8, 1.1]
    assert row["servers"]["perigee"]["cpu_us"] == 5.0
    assert row["servers"]["nginx"] == {"not_run": "not installed"}


def test_what_was_written_is_read_again_and_published_between_the_marks(results, tmp_path):
    report.write(tmp_path / "a.json", results, ABOUT)
    read, about = report.read(tmp_path / "a.json", list(rows.ROWS), [*servers.OURS, *PEERS])
    assert about == ABOUT and read.markdown(about) == results.markdown(ABOUT)
    assert [row.name for row in read.rows] == ["echo64", "deflate1kib", "connect", "idle"]

    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.publish(page, read, about)
    text = page.read_text()
    assert text.startswith("before\n<!--") and text.endswith("-->\nafter\n") and "old" not in text
    assert "| echo 64 B, 100 connections, 1 in flight | 0.97 of floor | 0.80 of floor |" in text
    page.write_text("no marks")
    with pytest.raises(LookupError):
        report.publish(page, read, about)


def test_every_row_and_server_has_a_name_of_its_own():
    for all_ in (rows.ROWS, servers.OURS + PEERS):
        names = [one.name for one in all_]
        assert len(set(names)) == len(names)


def test_every_row_has_the_script_that_perigee_serves_for_it():
    for row in rows.ROWS:
        command = servers.perigee_command(rows.Work(row.work.kind))
        script = Path(command.argv[2]) / f"{command.path}.lua".lstrip("/")
        assert script.is_file(), row.name
        assert row.name != "idle" or "function idle.open(" in script.read_text()


def test_a_peer_that_is_not_installed_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("peers.BUILD", tmp_path)
    for peer in PEERS:
        with pytest.raises(servers.NotRun, match="not installed: tools/setup bench"):
            peer.command(rows.Work())
        (tmp_path / peer.name).mkdir()
        (tmp_path / peer.name / "why-not").write_text("no such compiler\n")
        with pytest.raises(servers.NotRun, match="not installable here: no such compiler"):
            peer.command(rows.Work())


def test_what_there_is_not_is_named(tmp_path):
    for flags, said in (
        (["--rows", "echo65"], "there is no row echo65: echo64, "),
        (["--servers", "perigee,flor"], "there is no server flor: perigee, floor, "),
    ):
        done = subprocess.run(
            [sys.executable, ROOT / "tests/bench/run", *flags, "--out", tmp_path / "a.json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and done.stderr.startswith(said), done.stderr
