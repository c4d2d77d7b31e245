import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from reloading import HEAD, Rules
from serving import Host
from support.host import ROOT

os.environ.setdefault("PERIGEE", str(ROOT / "build/asan/perigee"))

SCRIPTS = Path(__file__).parent / "scripts"


class Serving:
    """The host of one module: started anew when a test has brought it down."""

    def __init__(self):
        self.host = None

    def get(self) -> Host:
        if self.host is None or not self.host.is_alive:
            self.host = Host(SCRIPTS)
        return self.host


@pytest.fixture(scope="module")
def serving():
    one = Serving()
    yield one
    if one.host is not None and one.host.is_alive:
        one.host.finish()


@pytest.fixture
def host(serving):
    """Serves the scripts beside this file."""
    one = serving.get()
    yield one
    if not one.is_alive:
        one.kill()
        one.check_sanitizer()
        pytest.fail(f"the host is gone, exit status {one.process.returncode}:\n{one.tail(30)}")


@pytest.fixture
def folder(tmp_path):
    """Makes a folder of scripts: folder({"a.lua": TEXT})."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.fixture
def serve(folder):
    """Serves a folder of its own: serve({"a.lua": TEXT}, flags...). Stops it afterwards."""
    hosts = []

    def start(files: dict[str, str], *flags: str) -> Host:
        hosts.append(Host(folder(files), *flags))
        return hosts[-1]

    yield start
    for one in hosts:
        one.finish()


@pytest.fixture
def rules(serve, tmp_path):
    """rules(BODY, flags...) serves a script that is saved anew later; see reloading.py."""
    with ExitStack() as stack:

        def start(body: str = "", *flags: str, head: str = HEAD) -> Rules:
            return Rules(
                serve({"rules.lua": f"{head}{body}\nreturn script"}, *flags), tmp_path, stack
            )

        yield start
