"""Other servers, as tests/bench/install has made them: each by one function, which says how
it is started for a piece of work and what is not its default.

All serve on one core. Where one has a switch that makes it faster without making it do less, that
switch is on: what is compared is the best that a user of it would get.
"""

import subprocess
from pathlib import Path

from rows import Work
from servers import ROOT, Command, NotRun, Server, certificate, free_port, output_of

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build/bench"

# In the words of each server's own source, beside this file.
DEFLATED = "window of 4 KiB, no context takeover"


def _installed(name: str) -> Path:
    """Where it is; else the reason why it is not."""
    folder = BUILD / name
    why_not = folder / "why-not"
    if why_not.exists():
        raise NotRun(f"not installable here: {why_not.read_text().strip() or 'it says nothing'}")
    if not list(folder.glob("done-*")):
        raise NotRun("not installed: tools/setup bench")
    return folder


def _path(work: Work) -> str:
    return "/broadcast" if work.knows_all else "/echo"


def _tls(work: Work, *flags: str) -> list[str]:
    """Flags with the certificate and the key, where that is asked for."""
    return (
        [part for pair in zip(flags, certificate(), strict=True) for part in pair]
        if work.tls
        else []
    )


def _plain_only(work: Work, tls: str = "", deflate: str = "", broadcast: str = "") -> None:
    """Raises for what a server does not do, with the reason."""
    for asked, reason in (
        (work.tls, tls),
        (work.deflate, deflate),
        (work.knows_all, broadcast),
    ):
        if asked and reason:
            raise NotRun(reason)


def node_ws(work: Work) -> Command:
    folder = _installed("node_ws")
    argv = ["node", str(HERE / "node_ws/server.js")]
    argv += ["--deflate"] if work.deflate else []
    argv += ["--tls", *certificate()] if work.tls else []
    settings = "bufferutil" + (f", {DEFLATED}" if work.deflate else "")
    return Command(
        argv, _path(work), settings=settings, env={"NODE_PATH": str(folder / "node_modules")}
    )


def rocket(work: Work) -> Command:
    folder = _installed("rocket")
    _plain_only(work, deflate="rocket_ws has no permessage-deflate")
    port = free_port()
    env = {}
    if work.tls:
        cert, key = certificate()
        env = {"BENCH_CERT": cert, "BENCH_KEY": key}
    argv = [str(folder / "release/bench-rocket"), str(port)]
    broadcast = ", what comes together is flushed together" if work.knows_all else ""
    return Command(argv, _path(work), port, f"workers = 1, LTO{broadcast}", env=env)


def fastwebsockets(work: Work) -> Command:
    folder = _installed("fastwebsockets")
    _plain_only(
        work,
        tls="its hyper has no TLS of its own",
        deflate="fastwebsockets has no permessage-deflate",
    )
    argv = [str(folder / "release/bench-fastwebsockets")]
    broadcast = ", what comes together is written together" if work.knows_all else ""
    return Command(argv, _path(work), settings=f"tokio with one thread, LTO{broadcast}")


def gorilla(work: Work) -> Command:
    folder = _installed("gorilla")
    argv = [str(folder / "server"), *(["-deflate"] if work.deflate else [])]
    argv += _tls(work, "-cert", "-key")
    settings = "GOMAXPROCS 1" + (", prepared messages" if work.knows_all else "")
    settings += ", no context takeover (it has none), level 1" if work.deflate else ""
    return Command(argv, _path(work), settings=settings)


def python_websockets(work: Work) -> Command:
    folder = _installed("python_websockets")
    argv = [str(folder / "bin/python"), str(HERE / "python_websockets/server.py")]
    argv += ["--deflate"] if work.deflate else []
    argv += ["--tls", *certificate()] if work.tls else []
    settings = "asyncio, no pings" + (f", {DEFLATED}" if work.deflate else ", compression off")
    return Command(argv, _path(work), settings=settings)


def nginx(work: Work) -> Command:
    folder = _installed("nginx")
    _plain_only(
        work,
        deflate="lua-resty-websocket has no permessage-deflate",
        broadcast="a handler of one connection can't write to others",
    )
    scratch, port = folder / "run", free_port()
    scratch.mkdir(exist_ok=True)
    cert, key = certificate() if work.tls else ("", "")
    modules = folder / "usr/lib/nginx/modules"
    words = {
        "MODULES": "\n".join(
            f"load_module {modules / name}.so;"
            for name in ("ndk_http_module", "ngx_http_lua_module")
        ),
        "FOLDER": str(scratch),
        "LUA": str(folder / "usr/share/lua/5.1"),
        "HERE": str(HERE / "nginx"),
        "PORT": str(port),
        "TLS": "ssl" if work.tls else "",
        "CERTIFICATE": f"ssl_certificate {cert}; ssl_certificate_key {key};" if work.tls else "",
    }
    config = (HERE / "nginx/nginx.conf").read_text()
    for word, value in words.items():
        config = config.replace(f"@{word}@", value)
    (scratch / "nginx.conf").write_text(config)
    argv = [str(folder / "usr/sbin/nginx"), "-p", str(scratch), "-c", str(scratch / "nginx.conf")]
    return Command(
        argv, "/echo", port, "worker_processes 1, lua_code_cache on", env=_libraries(folder)
    )


def libwebsockets(work: Work) -> Command:
    folder = _installed("libwebsockets")
    argv = [str(folder / "server"), *(["--broadcast"] if work.knows_all else [])]
    argv += ["--deflate"] if work.deflate else []
    argv += ["--tls", *certificate()] if work.tls else []
    settings = "one service thread, 64 KiB of rx buffer" + (f", {DEFLATED}" if work.deflate else "")
    return Command(argv, settings=settings, env=_libraries(folder))


def websocketd(work: Work) -> Command:
    folder = _installed("websocketd")
    _plain_only(
        work,
        deflate="websocketd has no permessage-deflate",
        broadcast="its programs know one connection each",
    )
    port = free_port()
    argv = [str(folder / "usr/bin/websocketd"), "--address=127.0.0.1", f"--port={port}"]
    if work.tls:
        cert, key = certificate()
        argv += ["--ssl", f"--sslcert={cert}", f"--sslkey={key}"]
    argv += ["--loglevel=fatal", "cat"]
    return Command(argv, "/", port, "a cat for each connection", env={"GOMAXPROCS": "1"})


def _libraries(folder: Path) -> dict[str, str]:
    """Where the loader finds those that were unpacked."""
    found = {str(path.parent) for path in folder.glob("**/*.so.*") if "modules" not in path.parts}
    return {"LD_LIBRARY_PATH": ":".join(sorted(found))} if found else {}


def _quoted(line: str) -> str:
    return line.split('"')[1]


def _locked(path: str, name: str):
    """Answers the version of a library in a Cargo.lock."""

    def version() -> str:
        lines = (HERE / path).read_text().splitlines()
        at = lines.index(f'name = "{name}"')
        return f"{name} {_quoted(lines[at + 1])}, {output_of('rustc', '--version')}"

    return version


def _node_version() -> str:
    folder = _installed("node_ws")
    code = (
        "for (const n of ['ws', 'bufferutil']) console.log(n, require(n + '/package.json').version)"
    )
    done = subprocess.run(
        ["node", "-e", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return ", ".join([*done.stdout.splitlines(), f"Node {output_of('node', '--version')}"])


def _gorilla_version() -> str:
    for line in (HERE / "gorilla/go.mod").read_text().splitlines():
        if line.startswith("require "):
            return f"{line.split(' ', 1)[1]}, {output_of('go', 'version')}"
    raise LookupError("go.mod requires nothing")


def _python_version() -> str:
    python = _installed("python_websockets") / "bin/python"
    version = output_of(python, "-c", "import websockets; print(websockets.__version__)")
    return f"websockets {version}, {output_of(python, '--version')}"


def _nginx_version() -> str:
    folder = _installed("nginx")
    return (
        f"{output_of(folder / 'usr/sbin/nginx', '-v')}, lua-nginx-websocket of the system's archive"
    )


def _lws_version() -> str:
    header = next((_installed("libwebsockets")).glob("**/lws_config.h"), None)
    for line in header.read_text().splitlines() if header else ():
        if "LWS_LIBRARY_VERSION " in line:
            return f"libwebsockets {_quoted(line).rstrip('-')}"
    return "libwebsockets of the system"


def _websocketd_version() -> str:
    return output_of(_installed("websocketd") / "usr/bin/websocketd", "--version")


PEERS = (
    Server("node_ws", "Node ws", node_ws, _node_version),
    Server("rocket", "Rust rocket_ws", rocket, _locked("rocket/Cargo.lock", "rocket_ws")),
    Server(
        "fastwebsockets", "Rust fastwebsockets", fastwebsockets,
        _locked("fastwebsockets/Cargo.lock", "fastwebsockets"),
    ),
    Server("gorilla", "Go gorilla/websocket", gorilla, _gorilla_version),
    Server("python_websockets", "Python websockets", python_websockets, _python_version),
    Server("nginx", "nginx, lua-resty-websocket", nginx, _nginx_version),
    Server("libwebsockets", "libwebsockets", libwebsockets, _lws_version),
    Server("websocketd", "websocketd", websocketd, _websocketd_version, processes=True),
)  # fmt: skip
