"""Who asks a running host: at its control socket, and by the commands that use it."""

import json
import socket
import subprocess

from conftest import check_sanitizers, program
from support import host as support


class Control:
    """Somebody at the socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def line(self) -> bytes:
        """The next answer; empty: hung up."""
        while b"\n" not in self.buffer:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return b""
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def send(self, request) -> None:
        text = request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n"
        self.socket.sendall(text)

    def ask(self, request) -> dict:
        self.send(request)
        return json.loads(self.line())

    def script(self, name="chat", **more) -> dict:
        scripts = self.ask({"do": "status", **more})["scripts"]
        return next(script for script in scripts if script["name"] == name)

    def eval(self, code: str, script="chat") -> dict:
        return self.ask({"do": "eval", "script": script, "code": code})


def command(path, *words: str, **options):
    """Runs a command against the socket at `path` -> (status, stdout, stderr)."""
    where = [f"--control={path}"] if path else []
    options.setdefault("env", support.environment())
    done = subprocess.run(
        [program(), *words, *where], capture_output=True, text=True, timeout=60, check=False,
        **options,
    )  # fmt: skip
    check_sanitizers(done.stderr)
    return done.returncode, done.stdout, done.stderr
