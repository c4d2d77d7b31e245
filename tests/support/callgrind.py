"""Instructions that a host runs, counted by valgrind's callgrind: unlike its time, the same again
on a machine that is busy."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from support.host import Failed, Host

# Nothing that comes by the clock, and no waiting at the end.
LIMITS: dict[str, int | str] = {"ping_s": 3600, "drain_s": 0}
FLAGS = ("--no-watch", "--control=off")


def counted(text: str) -> int:
    """The sum in one of callgrind's files."""
    match = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
    if not match:
        raise Failed("callgrind has left a file without a sum")
    return int(match[1])


def instructions(
    folder: Path,
    use: Callable[[Host], None],
    executable: str | Path = "",
    limits: dict[str, int | str] | None = None,
    env: dict[str, str] | None = None,
) -> list[int]:
    """What each thread of a host ran that served that folder, from its start to its end: first the
    loop's, on which all scripts run, then the watchdog's and those that worked for it.

    @param use  what is asked of the host; its clients are gone when it returns
    @param env  the variables that the host has, and no other; else it has ours
    """
    with tempfile.TemporaryDirectory(prefix="perigee-callgrind-") as out:
        under = (
            *(() if env is None else ("env", "-i", *(f"{k}={v}" for k, v in env.items()))),
            *(
                shutil.which("valgrind") or "valgrind",
                "--quiet",
                "--tool=callgrind",
                "--separate-threads=yes",
            ),
            f"--callgrind-out-file={out}/counts",
        )
        limits = LIMITS | (limits or {})
        with Host(folder, *FLAGS, executable=executable, under=under, limits=limits) as host:
            use(host)
            if (status := host.stop()) != 0:
                raise Failed(f"the host ended with {status}:\n{host.tail()}")
            # One that was stopped, or warned of, has run something else.
            if late := [line for line in host.log if "handler_" in line]:
                raise Failed(late[0])
        counts = [counted(path.read_text()) for path in sorted(Path(out).glob("counts-*"))]
    if not counts:
        raise Failed("callgrind has left no counts")
    return counts


def one_more(few: list[int], many: list[int], more: int) -> tuple[float, float]:
    """What each of those had cost that the second run was asked for beyond the first: what starting
    and stopping costs falls out.

    @return instructions of the loop's thread, and of all others
    """
    return (many[0] - few[0]) / more, (sum(many[1:]) - sum(few[1:])) / more
