"""A perigee host as a process of its own, for tests and acceptance programs."""

import atexit
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
START_S = 30  # under sanitizers on a busy machine
STOP_S = 45  # longer than drain_stop_s

LISTENING = re.compile(r"^listening on (https?://\S+:(\d+))$")


@functools.cache
def runtime_folder() -> str:
    """Where hosts of this process make their control sockets, and nobody else's do."""
    path = tempfile.mkdtemp(prefix="perigee-run-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def environment(**more: str) -> dict[str, str]:
    """Ours, less the settings of a host that whoever runs the tests may have."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PERIGEE_")}
    return ours | {"XDG_RUNTIME_DIR": runtime_folder()} | more


class Failed(Exception):
    """What a host or its peer did not do, in words for a report."""


def program() -> str:
    """The host's path: PERIGEE, else the release build."""
    return os.environ.get("PERIGEE") or str(ROOT / "build/release/perigee")


def built(preset: str) -> Path:
    """The program as one of CMake's presets makes it, up to date."""
    for command in (
        ["cmake", "--preset", preset],
        ["cmake", "--build", "--preset", preset, "--target", "perigee"],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return ROOT / "build" / preset / "perigee"


def wait_until(holds, what: str, limit_s: float = 10):
    """Asks until holds() answers something true, and returns that."""
    end = time.monotonic() + limit_s
    while True:
        if answer := holds():
            return answer
        if time.monotonic() > end:
            raise Failed(f"not within {limit_s:g} s: {what}")
        time.sleep(0.02)


def save(path: Path, text: str) -> None:
    """Beside it, then by rename, so that there is always a whole file."""
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    os.replace(fresh, path)


class Process:
    """A command whose output is kept by line: `out` and `log` (its stderr)."""

    def __init__(self, command, **options):
        self.out: list[str] = []
        self.log: list[str] = []
        options = {"stdin": subprocess.DEVNULL, "env": environment()} | options
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            **options,
        )
        self.readers = [
            threading.Thread(target=self._keep, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.log))
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _keep(stream, lines):
        lines.extend(line.rstrip("\n") for line in stream)

    def wait_for_line(self, pattern: re.Pattern, limit_s: float) -> re.Match:
        """The first line of `out` that matches."""

        def seen():
            for line in list(self.out):
                if match := pattern.match(line):
                    return match
            if self.process.poll() is not None:
                self.join()
                raise Failed(f"ended ({self.process.returncode}) instead:\n" + self.tail())
            return None

        return wait_until(seen, f"a line like {pattern.pattern}", limit_s)

    def tail(self, n: int = 20) -> str:
        return "\n".join((self.out + self.log)[-n:])

    def complaints(self) -> list[str]:
        """Warnings and errors; not that this machine is busy."""
        lines = [line for line in list(self.log) if re.search("level=(warn|error)", line)]
        busy = ("a timer skipped beats", "over handler_warn_s")
        return [line for line in lines if not any(words in line for words in busy)]

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    @contextmanager
    def stopped(self):
        """It stands still: what is sent meanwhile is all there when it goes on."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def end(self, limit_s: float = STOP_S) -> int:
        """Its exit status, once it ends by itself."""
        try:
            status = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"still there after {limit_s:g} s") from None
        self.join()
        return status

    def join(self) -> None:
        for reader in self.readers:
            reader.join(5)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.join()


def host_in(group: int) -> int:
    """The process of that process group whose program is perigee."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                same = os.getpgid(int(entry.name)) == group
                if same and (entry / "comm").read_text().strip() == "perigee":
                    return int(entry.name)
            except (OSError, ProcessLookupError):
                continue  # gone meanwhile
    raise LookupError("no perigee runs")


class Host(Process):
    """`perigee serve FOLDER`, ready once it is made. In a `with`, it is gone afterwards.

    @param executable   where it is not what program() finds
    @param descriptors  how many it may open (ulimit -n); 0: as many as we may
    @param under        a command that runs it, with its flags
    """

    def __init__(
        self,
        folder=SCRIPTS,
        *args,
        port: int = 0,
        limits: dict | None = None,
        executable: str | Path = "",
        descriptors: int = 0,
        under: tuple[str, ...] = (),
    ):
        flags = [f"--limit={name}={value}" for name, value in (limits or {}).items()]
        if descriptors:
            under = ("prlimit", f"--nofile={descriptors}:{descriptors}", *under)
        self.executable = str(executable or program())
        serve = [self.executable, "serve", str(folder), f"--port={port}"]
        super().__init__([*under, *serve, *flags, *args])
        try:
            match = self.wait_for_line(LISTENING, START_S)
        except BaseException:
            self.kill()
            raise
        self.http = match[1]
        self.port = int(match[2])
        self.ws = self.http.replace("http", "ws", 1)

    def get(self, path: str, limit_s: float = 10) -> bytes:
        with urllib.request.urlopen(self.http + path, timeout=limit_s) as answer:
            return answer.read()

    def operate(self, *words: str, limit_s: float = 60) -> subprocess.CompletedProcess:
        """`perigee status` and its like, to its end, at the control socket of the default."""
        control = f"--control={runtime_folder()}/perigee-{self.port}.sock"
        return subprocess.run(
            [self.executable, *words, control],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            env=environment(),
        )

    def script(self, name: str) -> dict:
        """What `perigee status` says of one."""
        scripts = json.loads(self.operate("status", "--format=json").stdout)["scripts"]
        return next(script for script in scripts if script["name"] == name)

    def memory(self) -> tuple[int, int]:
        """Bytes resident now, and at most since forget_peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        now, peak = (
            int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
            for name in ("VmRSS", "VmHWM")
        )
        return now, peak

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # proc(5)

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Has it drain and end. Answers its exit status."""
        if self.process.poll() is None:
            self.signal(number)
        return self.end()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and not isinstance(error, KeyboardInterrupt):
            error.add_note("the host said last:\n" + self.tail())
        self.kill()
