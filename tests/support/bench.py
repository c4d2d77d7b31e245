"""tests/bench for acceptance programs, which judge what it has measured."""

import subprocess
import sys
from pathlib import Path

from support.host import ROOT, Failed, environment, program

HERE = ROOT / "tests/bench"
sys.path.insert(0, str(HERE))

from report import Results, read  # noqa: E402
from rows import ROWS, Row  # noqa: E402
from servers import OURS, PERIGEE  # noqa: E402

__all__ = ["ROWS", "Results", "Row", "measured"]


def measured(name: str, rows: list[Row], servers: str, *flags: str) -> Results:
    """Runs tests/bench/run, which tells on stderr how far it is.

    @param name     of the file in build/results that keeps the figures
    @param servers  names of ours, with commas between
    @raise Failed  one of them did not do its work
    """
    if Path(program()).resolve() != PERIGEE.resolve():
        raise Failed(f"tests/bench measures {PERIGEE}: PERIGEE is to be unset, or to name that")
    out = ROOT / "build/results" / f"{name}.json"
    out.unlink(missing_ok=True)
    names = ",".join(row.name for row in rows)
    command = [HERE / "run", f"--rows={names}", f"--servers={servers}", f"--out={out}", *flags]
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"tests/bench/run has failed ({done.returncode}): stderr says why")
    return read(out, rows, list(OURS))[0]
