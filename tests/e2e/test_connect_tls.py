"""perigee connect by wss://: whom it trusts, and that nothing is lost on the way."""

import datetime
import socket
import ssl
import subprocess
import threading

import pytest

from conftest import check_sanitizers, program
from wire import LIMIT_S

ECHO = "return { message = function(conn, data, kind) conn:send(data, kind) end }"


@pytest.fixture
def echo(serve, authority):
    """A host by TLS: echo(NAMES..) has a certificate for them."""

    def start(*names: str, **options):
        pair = authority.issue(*(names or ("localhost",)), **options)
        return serve({"echo.lua": ECHO}, *pair.flags, "--host=127.0.0.1")

    return start


@pytest.fixture
def connect(authority):
    """connect(ARGS.., data=STDIN) -> (status, stdout, stderr); it trusts the tests' authority."""

    def run(*args: str, data: bytes = b"", trust=("--ca", None)) -> tuple[int, bytes, str]:
        trust = [word or str(authority.path) for word in trust]
        done = subprocess.run(
            [program(), "connect", *trust, *args],
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )
        err = done.stderr.decode()
        check_sanitizers(err)
        return done.returncode, done.stdout, err

    return run


def at(host, name="localhost", path="/echo") -> str:
    return f"wss://{name}:{host.port}{path}"


def test_lines_go_there_and_back_by_tls(echo, connect):
    host = echo()
    assert connect(at(host), data=b"one\ntwo") == (0, b"one\ntwo\n", "")
    assert connect(at(host).replace("wss", "https"), data=b"x") == (0, b"x\n", "")
    assert host.count("level=warn") == 0 and host.count("TLS") == 0, host.text()


def test_much_goes_there_and_back_whole(echo, connect):
    lines = b"".join(b"%06d" % i + b"x" * (i * 97 % 60_000) + b"\n" for i in range(600))
    assert connect(at(echo()), data=lines) == (0, lines, "")
    big = b"y" * 1_000_000 + b"\n"
    assert connect("--binary", at(echo()), data=big * 5) == (0, big.replace(b"\n", b"") * 5, "")


def test_a_certificate_may_be_for_an_address(echo, connect):
    host = echo("127.0.0.1")
    assert connect(at(host, "127.0.0.1"), data=b"x") == (0, b"x\n", "")
    status, _, err = connect(at(host), data=b"x")
    assert (status, "localhost is not to be trusted: hostname mismatch" in err) == (1, True)


@pytest.mark.parametrize(
    "options, name, why",
    [
        ({}, "127.0.0.1", "127.0.0.1 is not to be trusted: IP address mismatch"),
        ({"lasts": -1}, "localhost", "localhost is not to be trusted: certificate has expired"),
    ],
)
def test_a_certificate_that_is_no_good_ends_it(echo, connect, options, name, why):
    if lasts := options.get("lasts"):
        options = {"lasts": lasts * datetime.timedelta(days=1)}
    host = echo(**options)
    status, out, err = connect(at(host, name), data=b"secret")
    assert (status, out) == (1, b"")
    assert why in err and err.endswith("See --ca and --insecure\n")
    assert connect(at(host, name), data=b"x", trust=("--insecure",)) == (0, b"x\n", "")


def test_the_system_does_not_trust_our_authority_by_default(echo, connect):
    status, _, err = connect(at(echo()), data=b"x", trust=())
    assert status == 1
    assert "localhost is not to be trusted: unable to get local issuer certificate" in err


def test_the_host_is_asked_for_by_its_name(serve, authority, connect):
    first, second = authority.issue("first.example"), authority.issue("localhost")
    host = serve({"echo.lua": ECHO}, *first.flags, *second.flags, "--host=127.0.0.1")
    for name in ("localhost", "LocalHost"):
        assert connect(at(host, name), data=b"x") == (0, b"x\n", ""), name


def test_a_file_of_authorities_that_is_none_is_said(echo, connect, tmp_path):
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    url = at(echo())
    assert connect(url, trust=("--ca", str(nothing)))[::2] == (
        1,
        f"perigee: {nothing} holds no certificate in PEM form\n",
    )
    missing = str(tmp_path / "missing.pem")
    status, _, err = connect(url, trust=("--ca", missing))
    assert (status, f"{missing} can't be read: No such file" in err) == (1, True)
    assert connect(url, trust=("--ca", missing, "--insecure"))[0] == 2


def test_a_port_that_speaks_no_tls_is_an_error(serve, connect):
    host = serve({"echo.lua": ECHO}, "--host=127.0.0.1")
    status, _, err = connect(at(host), data=b"x")
    assert (status, "the TLS handshake failed: wrong version number" in err) == (1, True)


class Server:
    """One TLS connection, for what the host does not do: answers the request with `answer`."""

    def __init__(self, authority, answer: bytes, goodbye: bool):
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        pair = authority.issue("localhost", file="server")
        self.context.load_cert_chain(pair.cert, pair.key)
        self.answer, self.goodbye = answer, goodbye
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT_S)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT_S)
        with self.context.wrap_socket(connection, server_side=True) as tls:
            while b"\r\n\r\n" not in tls.recv(65536):
                pass
            tls.sendall(self.answer)
            if self.goodbye:
                tls.unwrap()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join(LIMIT_S)
        self.listener.close()


def test_a_redirect_to_where_nothing_is_encrypted_is_not_followed(authority, connect):
    answer = b"HTTP/1.1 302 Found\r\nLocation: ws://localhost:1/\r\nContent-Length: 0\r\n\r\n"
    with Server(authority, answer, goodbye=False) as server:
        status, _, err = connect(at(server), data=b"x")
    assert (status, err) == (
        1,
        "perigee: redirected to where nothing is encrypted: ws://localhost:1/\n",
    )


@pytest.mark.parametrize("goodbye", [False, True])
def test_an_answer_that_ends_early_is_an_error_with_a_goodbye_or_without(
    authority, connect, goodbye
):
    with Server(authority, b"HTTP/1.1 101 Swi", goodbye) as server:
        status, _, err = connect(at(server), data=b"x")
    assert status == 1
    assert err.startswith("perigee: no WebSocket there: "), err
