"""What was measured, for people and for programs."""

import json
import os
import platform
import re
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from measure import Cores
from peers import PEERS
from rows import Row
from servers import Server

TIMES = ("p50_ms", "p99_ms", "p999_ms", "max_ms")


def _word(reached: bool) -> str:
    return "reached" if reached else "missed"


@dataclass
class Cell:
    """A server at a row: a measurement for each round that it took part in, or why it did not."""

    rounds: dict[int, dict] = field(default_factory=dict)
    settings: str = ""
    not_run: str = ""

    def median(self, name: str) -> float | None:
        values = [figures[name] for figures in self.rounds.values() if name in figures]
        return statistics.median(values) if values else None


class Results:
    def __init__(self, rows: list[Row], servers: list[Server]):
        self.rows, self.servers = rows, servers
        self.cells = {row.name: {server.name: Cell() for server in servers} for row in rows}

    def cell(self, row: Row, server: str) -> Cell:
        return self.cells[row.name].get(server, Cell())

    def ratios(self, row: Row, server: str, against: str) -> list[float]:
        """CPU of `against` a message over that of the server, for each round that has both."""
        ours, theirs = self.cell(row, server).rounds, self.cell(row, against).rounds
        both = sorted(ours.keys() & theirs.keys())
        return [theirs[n]["cpu_us"] / ours[n]["cpu_us"] for n in both if "cpu_us" in ours[n]]

    def ratio(self, row: Row, server: str, against: str) -> float | None:
        values = self.ratios(row, server, against)
        return statistics.median(values) if values else None

    def is_bounded(self, row: Row) -> bool:
        """What bounds the row falls short of the goal itself, and perigee is near enough to it."""
        most = self.ratio(row, row.bound, row.against)
        reached = self.ratio(row, "perigee", row.bound)
        return bool(most and reached) and most < row.goal and reached >= row.of_bound

    def others(self, row: Row) -> list[float]:
        """What other programs had of a core, in each measurement of a row."""
        return [
            figures["others"]
            for cell in self.cells[row.name].values()
            for figures in cell.rounds.values()
            if "others" in figures
        ]

    def best_peer(self, row: Row) -> tuple[Server, float] | None:
        """Which of other servers needs the least, and how many times what perigee does."""
        peers = [server for server in self.servers if server in PEERS]
        if row.idle:
            ours = self.cell(row, "perigee").median("resident_bytes")
            held = [(peer, self.cell(row, peer.name).median("resident_bytes")) for peer in peers]
            times = [(peer, theirs / ours) for peer, theirs in held if ours and theirs]
        else:
            ratios = [(peer, self.ratio(row, "perigee", peer.name)) for peer in peers]
            times = [(peer, ratio) for peer, ratio in ratios if ratio]
        return min(times, key=lambda pair: pair[1], default=None)

    # --- As figures ---

    def summary(self) -> dict:
        return {
            row.name: {
                "title": row.title,
                "goal": row.goal,
                "against": row.against,
                "goal_bytes": row.most_bytes,
                "servers": {s.name: self._cell_summary(row, s) for s in self.servers},
            }
            for row in self.rows
        }

    def _cell_summary(self, row: Row, server: Server) -> dict:
        cell = self.cell(row, server.name)
        if not cell.rounds:
            return {"not_run": cell.not_run}
        names = sorted({name for figures in cell.rounds.values() for name in figures})
        medians = {name: cell.median(name) for name in names}
        ratios = self.ratios(row, server.name, row.against)
        if ratios and server.name != row.against:
            medians["of_" + row.against] = round(statistics.median(ratios), 4)
            medians["of_each_round"] = [round(ratio, 4) for ratio in ratios]
        return medians | {"settings": cell.settings, "rounds": cell.rounds, "not_run": cell.not_run}

    # --- As text ---

    def verdicts(self, row: Row) -> list[str]:
        """What perigee was to reach at a row, and whether it did."""
        lines = []
        held = self.cell(row, "perigee").median("resident_bytes")
        if row.idle and held is not None:
            lines.append(
                f"{_word(held <= row.most_bytes)}: {held:.0f} bytes, goal {row.most_bytes}"
            )
        ratio = self.ratio(row, "perigee", row.against) if row.goal else None
        if ratio is not None:
            lines.append(
                f"{_word(ratio >= row.goal)}: {ratio:.3f} of {row.against}, goal {row.goal:g}"
            )
        most = self.ratio(row, row.bound, row.against) if ratio is not None else None
        if most is not None and ratio < row.goal:
            word = "bounded" if self.is_bounded(row) else "not bounded"
            lines.append(
                f"{word}: {row.bound} has {most:.3f} of {row.against}, and perigee "
                f"{self.ratio(row, 'perigee', row.bound):.3f} of that, goal {row.of_bound:g}"
            )
        times = self.ratio(row, "perigee", row.peer) if row.peer else None
        if times is not None:
            lines.append(
                f"{_word(times >= row.times_peer)}: {times:.2f} times as many by a core's work "
                f"as {row.peer}, goal {row.times_peer:g}"
            )
        best = self.best_peer(row)
        if best:
            peer, times = best
            what = "memory" if row.idle else "CPU"
            lines.append(
                f"{_word(times > 1)}: {peer.title}, the best peer, takes {times:.2f} of our {what}"
            )
        return lines

    def text(self) -> str:
        return "\n\n".join(self._row_text(row) for row in self.rows)

    def _row_text(self, row: Row) -> str:
        lines = [f"{row.title} [{row.name}]"]
        lines += [f"  {verdict}" for verdict in self.verdicts(row)]
        if row.idle:
            lines.append(f"  {'':24} {'resident':>10} {'allocated':>10}  bytes a connection")
        else:
            of = f"of {row.against}"
            lines.append(
                f"  {'':24} {'CPU us':>8} {of:>9} {'rate/s':>10} {'p50 ms':>8} {'p99':>8}"
                f" {'p99.9':>8} {'max':>8} {'cores':>9} {'others':>6}"
            )
        for server in self._by_cost(row):
            cell = self.cell(row, server.name)
            if cell.rounds:
                lines.append(self._idle_line(server, cell) if row.idle else self._line(row, server))
        for server in self.servers:
            cell = self.cell(row, server.name)
            if cell.not_run:
                after = "" if cell.rounds else "not run: "
                lines.append(f"  {server.title[:24]:24} {after}{cell.not_run}")
        return "\n".join(lines)

    def _by_cost(self, row: Row) -> list[Server]:
        name = "resident_bytes" if row.idle else "cpu_us"
        return sorted(self.servers, key=lambda s: self.cell(row, s.name).median(name) or 0)

    def _line(self, row: Row, server: Server) -> str:
        cell = self.cell(row, server.name)
        ratio = self.ratio(row, server.name, row.against)
        of = f"{ratio:.3f}" if ratio and server.name != row.against else ""
        times = " ".join(f"{cell.median(name):8.3f}" for name in TIMES)
        cores = f"{cell.median('server_core'):.0%} {cell.median('load_core'):.0%}"
        return (
            f"  {server.title[:24]:24} {cell.median('cpu_us'):8.3f} {of:>9}"
            f" {cell.median('rate'):10,.0f} {times} {cores:>9} {cell.median('others'):6.0%}"
        )

    @staticmethod
    def _idle_line(server: Server, cell: Cell) -> str:
        heap = cell.median("heap_bytes")
        return (
            f"  {server.title[:24]:24} {cell.median('resident_bytes'):10,.0f}"
            f" {f'{heap:,.0f}' if heap is not None else '':>10}"
        )

    # --- As Markdown, for docs/performance.md ---

    def markdown(self, about: dict) -> str:
        made, tries = about["machine"], about.get("tries", 1)
        tried = "once" if tries == 1 else f"{tries} times at most"
        versions = "; ".join(
            f"{server.title}: {about['versions'].get(server.name, '')}"
            for server in self.servers
            if server.name not in ("floor", "lua_floor", "plain")
        )
        head = [
            f"Measured {about['begun']} on {made['cpu']}, {made['cores']} cores, "
            f"{made['memory_gib']:g} GiB, {made['system']}, {made['kernel']}, {made['compiler']}: "
            f"{about['rounds']} rounds of {about['seconds']:g} s, each measurement tried "
            f"{tried}, the server on core "
            f"{made['server_core']}, the load on core {made['load_core']}. {self._company()}",
            f"Versions: {versions}.",
            self._goals(),
            "![How much of each server's CPU the floor would need, and bytes a connection]"
            "(performance.svg)",
            *(self._row_markdown(row) for row in self.rows),
        ]
        return "\n\n".join(part.strip() for part in head)

    def _company(self) -> str:
        """What other programs did on both cores meanwhile."""
        shares = [share for row in self.rows for share in self.others(row)]
        if not shares:
            return ""
        return (
            f"Other programs had {statistics.median(shares):.0%} of one of these cores in the "
            f"median of all measurements, {max(shares):.0%} at most."
        )

    def _goals(self) -> str:
        lines = ["| work | goal | perigee | rounds from, to | best peer |", "|---|---|---|---|---|"]
        for row in self.rows:
            ratios = self.ratios(row, "perigee", row.against)
            held = self.cell(row, "perigee").median("resident_bytes")
            if row.idle and held is not None:
                heap = self.cell(row, "perigee").median("heap_bytes")
                goal = f"{row.most_bytes} bytes"
                measured = f"{held:.0f} resident, {heap:.0f} allocated"
                spread = ""
            elif ratios:
                goal = f"{row.goal:g} of {row.against}" if row.goal else ""
                measured = f"{statistics.median(ratios):.2f} of {row.against}"
                spread = f"{min(ratios):.2f}, {max(ratios):.2f}"
                most = self.ratio(row, row.bound, row.against)
                if most is not None:
                    of_bound = self.ratio(row, "perigee", row.bound)
                    measured += f"; {of_bound:.2f} of {row.bound}, which has {most:.2f}"
                times = self.ratio(row, "perigee", row.peer) if row.peer else None
                if times is not None:
                    goal += f"{row.times_peer:g} times as many as {row.peer}"
                    measured += f", {times:.1f} times {row.peer}"
            else:
                continue
            best = self.best_peer(row)
            peer = f"{best[0].title}: {best[1]:.2f} times as much" if best else ""
            lines.append(f"| {row.title} | {goal} | {measured} | {spread} | {peer} |")
        return "\n".join(lines) + "\n"

    def _row_markdown(self, row: Row) -> str:
        lines = [f"### {row.title[0].upper()}{row.title[1:]}", ""]
        if row.idle:
            lines += ["| server | bytes a connection | settings |", "|---|---|---|"]
        else:
            lines += [
                f"| server | CPU, µs | of {row.against} | a second | p50, ms | p99 | p99.9"
                " | settings |",
                "|---|---|---|---|---|---|---|---|",
            ]
        not_run = []
        for server in self._by_cost(row):
            cell = self.cell(row, server.name)
            if cell.not_run:
                not_run.append(f"{server.title}: {cell.not_run}")
            if not cell.rounds:
                continue
            if row.idle:
                held = cell.median("resident_bytes")
                lines.append(f"| {server.title} | {held:,.0f} | {cell.settings} |")
            else:
                ratio = self.ratio(row, server.name, row.against)
                of = f"{ratio:.2f}" if ratio and server.name != row.against else ""
                times = " | ".join(f"{cell.median(name):.2f}" for name in TIMES[:3])
                lines.append(
                    f"| {server.title} | {cell.median('cpu_us'):.2f} | {of}"
                    f" | {cell.median('rate'):,.0f} | {times} | {cell.settings} |"
                )
        if not_run:
            lines += ["", f"Not run, or not to the end: {'; '.join(not_run)}."]
        return "\n".join(lines) + "\n"


def machine(used: Cores) -> dict:
    cpu = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=False)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "server_core": used.server,
        "load_core": used.load,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "compiler": compiler.stdout.splitlines()[0] if compiler.stdout else "",
        "busy_before": os.getloadavg()[0],
    }


def versions(servers: list[Server]) -> dict[str, str]:
    found = {}
    for server in servers:
        try:
            found[server.name] = server.version()
        except Exception as error:  # it is not installed: its rows say why
            found[server.name] = f"not there: {type(error).__name__}"
    return found


def write(path: Path, results: Results, about: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | {"rows": results.summary()}, indent=1) + "\n")


def read(path: Path, rows: list[Row], servers: list[Server]) -> tuple[Results, dict]:
    """What write() has written: the rows and servers of these that are in it, and the rest."""
    about = json.loads(path.read_text())
    written = about.pop("rows")
    rows = [row for row in rows if row.name in written]
    named = {name for row in written.values() for name in row["servers"]}
    results = Results(rows, [server for server in servers if server.name in named])
    for row in rows:
        for name, figures in written[row.name]["servers"].items():
            cell = results.cells[row.name][name]
            cell.rounds = {int(n): one for n, one in figures.get("rounds", {}).items()}
            cell.settings = figures.get("settings", "")
            cell.not_run = figures.get("not_run", "")
    return results, about


BEGIN, END = "<!-- made by tests/bench/run --docs -->", "<!-- end -->"


def publish(page: Path, results: Results, about: dict) -> None:
    """Puts the figures between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise LookupError(f"{page} has no {BEGIN} with {END} behind it")
    page.write_text(f"{before}{BEGIN}\n\n{results.markdown(about)}\n\n{END}{after}")
