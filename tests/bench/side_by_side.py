"""Several servers at one row side by side: all are up at once, and their loads go on in turns of a
few milliseconds. What the machine does meanwhile is in all of them alike: for ratios on one that
changes its pace. Rates and latencies say nothing, as each is stopped most of the time."""

import random
import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace

from measure import LOAD_S, Cores, Failed, Pace, asked_of, figures_of, load_command
from rows import Row
from servers import NotRun, Running, Server

TURN_S = 0.04

Found = tuple[dict, str] | NotRun | Failed  # the figures of a server and its settings


class _Load:
    """The load on a server, which goes on in its turns only."""

    def __init__(self, running: Running, row: Row, used: Cores, pace: Pace):
        self.running = running
        pipe = subprocess.PIPE
        command = load_command(running, row, used, pace)
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        self.process.send_signal(signal.SIGSTOP)

    def turn(self) -> bool:
        """@return whether there is another"""
        self.process.send_signal(signal.SIGCONT)
        time.sleep(TURN_S)
        self.process.send_signal(signal.SIGSTOP)
        return self.process.poll() is None

    def figures(self) -> dict:
        said, wrong = self.process.communicate()
        if self.process.returncode != 0:
            why = wrong.strip() or f"its load has ended with {self.process.returncode}"
            raise Failed(f"{why}\n{self.running.tail()}".strip())
        return figures_of(said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def _take_turns(loads: list[_Load], chance: random.Random) -> None:
    end = time.monotonic() + LOAD_S
    while loads:
        chance.shuffle(loads)
        loads = [load for load in loads if load.turn()]
        if time.monotonic() > end:
            for load in loads:
                load.process.kill()  # too long: its figures say so
            return


def _note_others(all_: list[dict]) -> None:
    """What other programs had of either core: all but what ours had, together."""
    servers = sum(figures["cpu_us"] * figures["rate"] / 1e6 for figures in all_)
    loads = sum(figures["load_cpu"] for figures in all_)
    for figures in all_:
        others = max(0, figures["server_core"] - servers, figures["load_core"] - loads)
        figures["others"] = round(others, 3)


def side_by_side(
    servers: list[Server], row: Row, used: Cores, pace: Pace, chance: random.Random
) -> dict[str, Found]:
    """What was found of each, by its name. Each has the machine for as long as `pace` says."""
    found: dict[str, Found] = {}
    longer = replace(pace, warm_s=pace.warm_s * len(servers), seconds=pace.seconds * len(servers))
    with ExitStack() as stack:
        loads: dict[str, _Load] = {}
        settings: dict[str, str] = {}
        for server in servers:
            asked = asked_of(server, row)
            try:
                command = server.command(asked.work)
                under = ("taskset", "-c", str(used.server))
                running = stack.enter_context(Running(command, under))
            except NotRun as why:
                found[server.name] = why
                continue
            except RuntimeError as why:
                found[server.name] = Failed(str(why))
                continue
            settings[server.name] = command.settings
            loads[server.name] = stack.enter_context(_Load(running, asked, used, longer))
        _take_turns(list(loads.values()), chance)
        for name, load in loads.items():
            try:
                found[name] = load.figures(), settings[name]
            except Failed as why:
                found[name] = why
    _note_others([one[0] for one in found.values() if isinstance(one, tuple)])
    return found
