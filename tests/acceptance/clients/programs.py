"""How each client is built, run, and listened to. What a client must do is in README.md."""

import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.browser import Browser
from support.host import ROOT, Failed, Process, wait_until
from support.relay import Relay

SOURCES = Path(__file__).resolve().parent
SCRIPTS_BESIDE = SOURCES / "scripts"
BUILD = ROOT / "build/clients"
BUILD_S, RUN_S = 1200, 180

Told = dict[str, str]  # the lines of a client, by their names


class Skipped(Exception):
    """A client that is not to be had here, and why."""


def ask(url: str, headers: dict[str, str] | None = None, authority: str = ""):
    """GET without a proxy, whatever the status."""
    handlers: list = [urllib.request.ProxyHandler({})]
    if authority:
        context = ssl.create_default_context(cafile=authority)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, headers=headers or {})
    try:
        return urllib.request.build_opener(*handlers).open(request, timeout=20)
    except urllib.error.HTTPError as answer:
        return answer


@dataclass
class Place:
    """Where a client connects to, and how."""

    mode: str  # plain, compressed or tls
    relay: Relay
    authority: str  # the certificate to trust, or empty
    sizes: list[int]

    def url(self, scheme: str) -> str:
        return f"{scheme}{'s' if self.authority else ''}://127.0.0.1:{self.relay.port}"

    def ask(self, path: str):
        """JSON from one of the scripts."""
        with ask(self.url("http") + path, authority=self.authority) as answer:
            return json.load(answer)

    @property
    def all_sizes(self) -> str:
        return ",".join(map(str, self.sizes))


@dataclass
class Program:
    """@param prepare  answers what connects to a place; raises Skipped"""

    name: str
    prepare: Callable[[], Callable[[Place], Told]]
    compresses: bool = True
    fragments: bool = True
    pings: bool = True


def last_line(done: subprocess.CompletedProcess) -> str:
    return ((done.stderr or done.stdout).strip().splitlines() or ["nothing said"])[-1]


def told(lines: list[str]) -> Told:
    return dict(line.partition(": ")[::2] for line in lines)


# Programs of their own


def need(*tools: str) -> None:
    for tool in tools:
        if not shutil.which(tool):
            raise Skipped(f"no {tool} here")


def build(source: str, *command: str) -> Path:
    """Copies a client's source below build/clients and runs a command there, unless that was done
    with these very files."""
    folder, made = BUILD / source, BUILD / f"{source}.made"
    files = (path for path in sorted((SOURCES / source).rglob("*")) if path.is_file())
    key = hashlib.sha256(b"\0".join([str(command).encode(), *(f.read_bytes() for f in files)]))
    if made.exists() and made.read_text() == key.hexdigest():
        return folder
    shutil.copytree(SOURCES / source, folder, dirs_exist_ok=True)
    done = subprocess.run(
        ["nice", *command],
        cwd=folder, capture_output=True, text=True, timeout=BUILD_S, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed(f"{' '.join(command[:2])} failed: {last_line(done)}")
    made.write_text(key.hexdigest())
    return folder


def runs(*command: str | Path, **more: str) -> Callable[[Place], Told]:
    def connect(place: Place) -> Told:
        arguments = (place.url("ws"), place.mode, place.authority, place.all_sizes)
        # Nobody's proxy stands between a client and 127.0.0.1.
        ours = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        done = subprocess.run(
            [*command, *arguments],
            env=ours | more, capture_output=True, text=True, timeout=RUN_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise Failed(f"exit status {done.returncode}: {last_line(done)}")
        return told(done.stdout.splitlines())

    return connect


def python_websockets():
    return runs(sys.executable, SOURCES / "python/client.py")


def node_ws():
    need("node", "npm")
    folder = build("node", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return runs("node", folder / "client.js")


def rust_tungstenite():
    need("cargo")
    return runs(build("rust", "cargo", "build", "--locked", "-q") / "target/debug/client")


def go_client(name: str):
    def prepare():
        need("go")
        folder = build("go", "go", "build", "-mod=readonly", "-o", "bin/", "./...")
        return runs(folder / "bin" / name)

    return prepare


def curl():
    folder = build(
        "curl", sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check",
        "--no-deps", "--upgrade", "--target", "site", "-r", "requirements.txt",
    )  # fmt: skip
    return runs(sys.executable, folder / "client.py", PYTHONPATH=str(folder / "site"))


# Browsers: a page connects, and posts its lines to /said


def page(place: Place) -> str:
    return place.url("http") + f"/client.html?sizes={place.all_sizes}"


def posted(place: Place) -> Told:
    lines = wait_until(lambda: place.ask("/said"), "the page says how it went", RUN_S)
    if lines[-1].startswith("failed: "):
        raise Failed(lines[-1])
    return told(lines)


def chromium():
    need("chromium", "chromedriver")

    def connect(place: Place) -> Told:
        with Browser("--ignore-certificate-errors") as browser:
            browser.driver.get(page(place))
            version = f"Chromium {browser.driver.capabilities['browserVersion']}"
            return {"version": version, **posted(place)}

    return connect


FIREFOX_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.enabled": False,
}


def trust(profile: Path, authority: str) -> None:
    """Firefox takes authorities from its profile only."""
    if not shutil.which("certutil"):
        raise Skipped("no certutil here to trust a certificate: tools/setup acceptance")
    database = f"sql:{profile}"
    for words in (
        ["-N", "--empty-password"],
        ["-A", "-n", "perigee", "-t", "C,,", "-i", authority],
    ):
        subprocess.run(["certutil", "-d", database, *words], check=True, capture_output=True)


def firefox():
    if not shutil.which("firefox-esr"):
        raise Skipped("no firefox-esr here: tools/setup acceptance")

    def connect(place: Place) -> Told:
        with tempfile.TemporaryDirectory(
            prefix="perigee-firefox-", ignore_cleanup_errors=True
        ) as folder:
            lines = (
                f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
                for name, value in FIREFOX_PREFERENCES.items()
            )
            (Path(folder) / "user.js").write_text("".join(lines))
            if place.authority:
                trust(Path(folder), place.authority)
            command = ["firefox-esr", "--headless", "--no-remote", "--profile", folder, page(place)]
            process = Process(command, start_new_session=True)
            try:
                return {"version": firefox_version(), **posted(place)}
            finally:
                os.killpg(process.process.pid, signal.SIGKILL)  # its own and its children
                process.kill()

    return connect


def firefox_version() -> str:
    command = ["firefox-esr", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.strip().removeprefix("Mozilla ")


def programs() -> list[Program]:
    return [
        Program("python_websockets", python_websockets),
        Program("node_ws", node_ws),
        Program("rust_tungstenite", rust_tungstenite, compresses=False),
        Program("go_gorilla", go_client("gorilla")),
        Program("go_coder", go_client("coder")),
        Program("curl", curl, compresses=False),
        Program("chromium", chromium, fragments=False, pings=False),
        Program("firefox", firefox, fragments=False, pings=False),
    ]
