"""Whose a connection is: what a trusted proxy says of it, what nobody else may say; and how much
one address may have. The proxy is 127.0.0.1 unless a test says otherwise, a stranger 127.0.0.2."""

import re
import socket
import struct
import subprocess
import sys
from contextlib import suppress

import pytest

from conftest import START_S, program
from wire import CLOSE, PING, PONG, Client, Wire, frame, head, upgrade_head

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
STRANGER = "127.0.0.2"
TRUST = "--trusted-proxies=127.0.0.1"
CHAIN = ("--trusted-proxies=10.0.0.0/8", "--trusted-proxies=fd00::/8")

WHO = {
    "who.lua": """
return {
  request = function(req) return 200, req.remote end,
  upgrade = function(req) return { data = { remote = req.remote } } end,
  message = function(conn, text)
    conn:send(conn.data.remote .. " " .. conn.remote .. " " .. text)
  end,
  close = function(conn) print("gone: " .. conn.remote) end,
}
"""
}
ECHO = {"echo.lua": "return { message = function(conn, text) conn:send(text) end }"}


def v1(source: str, to: str = "192.0.2.200") -> bytes:
    family = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {family} {source} {to if family == 'TCP4' else '::9'} 1000 80\r\n".encode()


def v2(source: str, tlvs: bytes = b"", command: int = 1) -> bytes:
    if ":" in source:
        family, packed = 0x21, socket.inet_pton(socket.AF_INET6, source)
    else:
        family, packed = 0x11, socket.inet_pton(socket.AF_INET, source)
    body = packed * 2 + struct.pack(">HH", 1000, 80) + tlvs
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


@pytest.fixture
def behind(serve):
    """behind(files, flags..) -> (host, port): one more place, where trusted proxies speak PROXY."""

    def start(files, *flags, where="127.0.0.1"):
        host = serve(files, f"--listen=proxy:{where}:0", *flags)
        line = host.wait(lambda: [line for line in host.out if " proxy:" in line])[0]
        return host, int(line.rsplit(":", 1)[1])

    return start


def ask(port: int, *first: bytes, **options) -> bytes:
    """Whose a connection is that begins with these bytes."""
    with Wire(port, **options) as wire:
        wire.send(*first, head("/who"))
        answer = wire.answer()
        assert answer.status == 200, answer
        return answer.body


def is_turned_away(port: int, data: bytes, status: int = 400, **options) -> None:
    with Wire(port, **options) as wire:
        wire.send(data)
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (status, "close")
        assert wire.rest() == b""


# Fields of requests.

SPOOFED = {"X_Forwarded_For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X_Real_IP": "6.6.6.6"}


def test_nobody_is_believed_unless_it_is_said(serve):
    host = serve(WHO)
    assert host.get("/who", **SPOOFED).body == b"127.0.0.1"
    with host.client("/who", **SPOOFED) as client:
        client.text("x")
        assert client.hear_text() == "127.0.0.1 127.0.0.1 x"


def test_a_stranger_is_not_believed_where_others_are(serve):
    host = serve(WHO, TRUST)
    for name in SPOOFED:
        with host.wire(source=STRANGER) as wire:
            assert wire.request("/who", **{name: SPOOFED[name]}).body == STRANGER.encode()
    with Client(host.port, source=STRANGER) as client:
        assert client.upgrade("/who", **SPOOFED).status == 101
        client.text("x")
        assert client.hear_text() == f"{STRANGER} {STRANGER} x"


@pytest.mark.parametrize(
    "fields, client",
    [
        ({"X_Forwarded_For": "192.0.2.7"}, "192.0.2.7"),
        ({"X_Forwarded_For": "6.6.6.6, 192.0.2.7"}, "192.0.2.7"),
        ({"X_Forwarded_For": "6.6.6.6, 192.0.2.7, 10.1.1.1, fd00::1"}, "192.0.2.7"),
        ({"X_Forwarded_For": "10.1.1.1, 10.2.2.2"}, "10.1.1.1"),
        ({"X_Forwarded_For": "[2001:DB8::7]:1234"}, "2001:db8::7"),
        ({"X_Forwarded_For": "::ffff:192.0.2.7"}, "192.0.2.7"),
        ({"X_Forwarded_For": "6.6.6.6, unknown"}, "127.0.0.1"),
        ({"Forwarded": "for=192.0.2.7;proto=https"}, "192.0.2.7"),
        ({"Forwarded": 'for=6.6.6.6, for="[2001:db8::7%eth0]:80", for=10.1.1.1'}, "2001:db8::7"),
        ({"Forwarded": "for=6.6.6.6, for=_hidden"}, "127.0.0.1"),
        ({"Forwarded": 'for=6.6.6.6;x=", for=192.0.2.7'}, "127.0.0.1"),
        ({"Forwarded": "for=192.0.2.7", "X_Forwarded_For": "192.0.2.7"}, "192.0.2.7"),
        ({"X_Real_IP": "192.0.2.7", "X_Forwarded_Host": "192.0.2.7"}, "127.0.0.1"),
        ({}, "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_says_whose_a_request_is(serve, fields, client):
    host = serve(WHO, TRUST, *CHAIN)
    assert host.get("/who", **fields).body == client.encode()
    with host.client("/who", **fields) as peer:
        peer.text("x")
        assert peer.hear_text() == f"{client} {client} x"
    host.wait_log(f"gone: {client}")


def test_each_request_of_a_proxy_may_be_of_another_client(serve):
    host = serve(WHO, TRUST)
    with host.wire() as wire:
        for client in ("192.0.2.1", "192.0.2.2", None, "192.0.2.3"):
            answer = wire.request("/who", X_Forwarded_For=client)
            assert answer.body == (client or "127.0.0.1").encode()


def test_where_the_two_fields_differ_neither_counts_and_the_log_says_so(serve):
    host = serve(WHO, TRUST)
    fields = {"Forwarded": "for=6.6.6.6", "X_Forwarded_For": "192.0.2.7"}
    assert host.get("/who", **fields).body == b"127.0.0.1"
    host.wait_log("name different clients")


def test_the_log_names_the_client(serve):
    host = serve(WHO, TRUST, "--log-level=debug")
    assert host.get("/nothing", X_Forwarded_For="192.0.2.7").status == 404
    host.wait(lambda: host.count("path=/nothing remote=192.0.2.7"))
    with host.client("/who", X_Forwarded_For="192.0.2.8") as client:
        client.send(frame(3, b""))  # a reserved opcode
        assert client.hear_close()[0] == 1002
    host.wait(lambda: host.count("connection failed") and host.count("remote=192.0.2.8"))


def test_a_proxy_on_a_socket_of_the_file_system(serve, tmp_path):
    path = tmp_path / "s"
    for flag, client in ((TRUST, b"unix"), ("--trusted-proxies=unix", b"192.0.2.7")):
        host = serve(WHO, f"--listen=unix:{path}", flag)
        with socket.socket(socket.AF_UNIX) as sock, Wire(host.port) as wire:
            wire.socket.close()
            wire.socket = sock
            sock.settimeout(15)
            sock.connect(str(path))
            assert wire.request("/who", X_Forwarded_For="192.0.2.7").body == client
        assert host.stop() == 0


def test_nothing_else_that_is_forwarded_counts(serve):
    """Origin `same` compares the Host that came, not the one that is told."""
    host = serve(WHO, TRUST)
    told = {"X_Forwarded_Host": "shop.test", "X_Forwarded_Proto": "https",
            "Forwarded": "for=192.0.2.7;host=shop.test;proto=https"}  # fmt: skip
    with Client(host.port) as client:
        answer = client.upgrade("/who", Origin="https://shop.test", Host="inner.test", **told)
        assert answer.status == 403
    with Client(host.port) as client:
        answer = client.upgrade("/who", Origin="https://shop.test", Host="shop.test", **told)
        assert answer.status == 101


# IPv6.


@pytest.mark.parametrize("flags", [("--host=::1",), ("--listen=[::1]:0",)])
def test_ipv6_peers_have_no_brackets_and_no_port(serve, flags):
    host = serve(WHO, *flags, "--trusted-proxies=::1")
    line = host.wait(lambda: [line for line in host.out if "[::1]" in line])[0]
    port = int(line.rsplit(":", 1)[1])
    assert ask(port, address="::1") == b"::1"
    with Wire(port, address="::1") as wire:
        assert wire.request("/who", X_Forwarded_For="2001:db8::7").body == b"2001:db8::7"


def test_ipv4_over_an_ipv6_socket_is_ipv4(serve):
    host = serve(WHO, "--host=::", "--trusted-proxies=127.0.0.0/31")
    assert ask(host.port, source=STRANGER) == STRANGER.encode()
    assert ask(host.port, address="::1") == b"::1"
    assert host.get("/who", X_Forwarded_For="192.0.2.7").body == b"192.0.2.7"


# The PROXY protocol.

HEADERS = [
    (v1("192.0.2.7"), b"192.0.2.7"),
    (v1("2001:db8::7"), b"2001:db8::7"),
    (v1("::ffff:192.0.2.7"), b"192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
    (b"PROXY UNKNOWN 6.6.6.6 6.6.6.6 1 2\r\n", b"127.0.0.1"),
    (v2("192.0.2.7"), b"192.0.2.7"),
    (v2("2001:db8::7"), b"2001:db8::7"),
    (v2("192.0.2.7", b"\x02\0\6a.test" + b"\x04" + struct.pack(">H", 2000) + bytes(2000)),
     b"192.0.2.7"),
    (v2("6.6.6.6", command=0), b"127.0.0.1"),
    (SIGNATURE + b"\x20\0\0\0", b"127.0.0.1"),
    (SIGNATURE + b"\x21\x31\0\xd8" + bytes(216), b"unix"),
]  # fmt: skip


@pytest.mark.parametrize("header, client", HEADERS)
def test_a_header_comes_before_all_else_in_whatever_pieces(behind, header, client):
    _, port = behind(WHO, TRUST)
    assert ask(port, header) == client
    with Client(port) as peer:
        peer.trickle(header[:300])
        peer.send(header[300:])
        peer.trickle(upgrade_head("/who"))
        assert peer.answer().status == 101
        peer.text("x")
        assert peer.hear_text() == f"{client.decode()} {client.decode()} x"


def test_it_counts_for_all_requests_and_what_they_say_does_not(behind):
    _, port = behind(WHO, TRUST)
    for header, client in HEADERS:
        with Wire(port) as wire:
            wire.send(header)
            for _ in range(3):
                assert wire.request("/who", **SPOOFED).body == client


def test_a_chain_of_both_kinds(behind):
    """A proxy for HTTP behind one that is not: the latter names the former, which is trusted."""
    _, port = behind(WHO, TRUST, *CHAIN)
    for header in (v1("10.1.1.1"), v2("fd00::1")):
        with Wire(port) as wire:
            wire.send(header)
            assert wire.request("/who", X_Forwarded_For="192.0.2.7").body == b"192.0.2.7"
            assert wire.request("/who").body in (b"10.1.1.1", b"fd00::1")
            assert wire.request("/who", X_Forwarded_For="192.0.2.8").body == b"192.0.2.8"


def test_unix_on_another_machine_is_not_unix_here(behind):
    _, port = behind(WHO, TRUST, "--trusted-proxies=unix")
    with Wire(port) as wire:
        wire.send(SIGNATURE, b"\x21\x31\0\xd8", bytes(216))
        assert wire.request("/who", X_Forwarded_For="6.6.6.6").body == b"unix"


@pytest.mark.parametrize("data", [v1("6.6.6.6"), v2("6.6.6.6"), head("/who"), b"x"])
def test_a_stranger_may_not_speak_it(behind, data):
    host, port = behind(WHO, TRUST)
    is_turned_away(port, data, source=STRANGER)
    host.wait(lambda: host.count(f'(trusted_proxies)" path=- remote={STRANGER}'))


@pytest.mark.parametrize(
    "data",
    [
        head("/who"),
        upgrade_head("/who"),
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n" + head("/who"),
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n" + head("/who"),
        b"PROXY UNKNOWN " + b"x" * 107 + b"\r\n" + head("/who"),
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12) + head("/who"),
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11) + head("/who"),
        SIGNATURE + b"\x21\x51\xff\xff" + bytes(100000),
        b"\0",
    ],
)
def test_what_is_no_header_is_400(behind, data):
    host, port = behind(WHO, TRUST)
    is_turned_away(port, data)
    host.wait(lambda: host.count("PROXY protocol"))
    assert ask(port, v1("192.0.2.7")) == b"192.0.2.7"


def test_a_second_header_is_a_bad_request(behind):
    _, port = behind(WHO, TRUST)
    is_turned_away(port, v1("192.0.2.7") + v1("6.6.6.6") + head("/who"))


@pytest.mark.parametrize("header", [v1("6.6.6.6"), v2("6.6.6.6")])
def test_it_is_not_spoken_where_it_is_not_expected(serve, header):
    """Not by those who are trusted either: whether it comes is never guessed."""
    host = serve(WHO, TRUST)
    is_turned_away(host.port, header + head("/who"))


@pytest.mark.parametrize("part", [b"", b"PROXY TCP4 192.", v2("192.0.2.7")[:20], v1("192.0.2.7")])
def test_head_s_holds_while_it_is_awaited(behind, part):
    _, port = behind(WHO, TRUST, "--limit=head_s=0.3")
    is_turned_away(port, part, 408)


def test_it_may_be_expected_on_a_socket_of_the_file_system(serve, tmp_path):
    path = tmp_path / "s"
    host = serve(WHO, f"--listen=proxy:unix:{path}", "--trusted-proxies=unix")
    host.wait(lambda: f"listening on proxy:unix:{path}" in host.out)
    with socket.socket(socket.AF_UNIX) as sock, Wire(host.port) as wire:
        wire.socket.close()
        wire.socket = sock
        sock.settimeout(15)
        sock.connect(str(path))
        wire.send(v1("192.0.2.7"))
        assert wire.request("/who").body == b"192.0.2.7"


LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": sys.argv[2]}
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.parametrize("name, expected", [("proxy", True), ("http", False), ("proxy2", False)])
def test_a_service_manager_says_by_name_where_it_is_expected(folder, name, expected):
    with socket.socket() as passed:
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        fd, port = passed.fileno(), passed.getsockname()[1]
        command = [sys.executable, "-c", LAUNCH, str(fd), name,
                   program(), "serve", str(folder(WHO)), TRUST]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[fd]) as host:
            line = host.stdout.readline()
            try:
                shown = f"proxy:127.0.0.1:{port}" if expected else f"http://127.0.0.1:{port}"
                assert line == f"listening on {shown}\n"
                if expected:
                    assert ask(port, v1("192.0.2.7")) == b"192.0.2.7"
                else:
                    assert ask(port) == b"127.0.0.1"
            finally:
                host.terminate()
                assert host.wait(START_S) == 0


# Who is trusted is the operator's to say.


def test_the_folder_cannot_say_whom_to_trust(run, folder):
    where = folder({"perigee.lua": 'return { trusted_proxies = { "0.0.0.0/0" } }'})
    status, out, err = run("serve", str(where), "--port=0")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no perigee.lua may" in err and "--trusted-proxies" in err
    folder({"perigee.lua": 'return { limits = { trusted_proxies = "0.0.0.0/0" } }'})
    status, out, err = run("serve", str(where), "--port=0")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "--trusted-proxies" in err


def test_flag_variable_and_file_can(run, folder):
    where = folder({"_op.lua": 'return { trusted_proxies = { "10.0.0.0/8", "unix" } }'})
    shown = re.compile(r"trusted_proxies = (\{.*?\}),")
    for flags, env, value in [
        ([], {}, "{}"),
        ([], {"PERIGEE_TRUSTED_PROXIES": "::1 fd00::/8"}, '{"::1", "fd00::/8"}'),
        ([f"--config={where}/_op.lua"], {}, '{"10.0.0.0/8", "unix"}'),
        (["--trusted-proxies=::1", "--trusted-proxies", "unix"], {}, '{"::1", "unix"}'),
    ]:
        status, out, err = run("serve", str(where), "--print-config", *flags, env=env)
        assert (status, err) == (0, "")
        assert shown.search(out)[1] == value


@pytest.mark.parametrize(
    "who", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "::/129", "[::1]", "unix:/run/x", "*"]
)
def test_what_names_nobody_is_one_line(run, tmp_path, who):
    status, out, err = run("serve", str(tmp_path), f"--trusted-proxies={who}")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--trusted-proxies must be an address" in err


def test_where_nobody_could_speak_is_one_line(run, folder):
    status, out, err = run("serve", str(folder(WHO)), "--listen=proxy:127.0.0.1:0")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "nobody is believed" in err and "--trusted-proxies" in err


def test_limit_names_the_flag(run, tmp_path):
    status, _, err = run("serve", str(tmp_path), "--limit=trusted_proxies=::1")
    assert (status, err.count("\n")) == (2, 1) and "use --trusted-proxies" in err


# Bounds for an address.


def is_refused(answer, limit: str) -> None:
    assert answer.status == 503 and int(answer["retry-after"]) > 0, answer
    assert limit.encode() in answer.body


def test_an_address_has_so_many_connections_and_others_have_theirs(serve):
    host = serve(WHO, "--limit=address_connections=3")
    mine = [host.client("/who"), host.client("/who"), host.wire()]
    assert mine[2].request("/who").status == 200  # plain HTTP counts too
    with host.wire() as wire:
        is_refused(wire.answer(), "address_connections")  # before it has asked
        assert wire.rest() == b""
    with Client(host.port, source=STRANGER) as other:
        assert other.upgrade("/who").status == 101
    mine[0].text("x")
    assert mine[0].hear_text().endswith("x")
    for client in mine:
        client.socket.close()
    host.wait(lambda: host.get("/who").status == 200)
    host.wait(lambda: host.count("(address_connections)"))


def test_many_that_are_refused_are_closed_without_an_answer(serve):
    host = serve(WHO, "--limit=address_connections=1", "--limit=close_s=60")
    with host.client("/who") as client:
        refused = [host.wire() for _ in range(128)]
        for wire in refused:  # answered, and not gone: they do not close
            assert wire.answer().status == 503
        with host.wire() as wire:
            assert wire.rest() == b""
        host.wait(lambda: host.count("without an answer: too many connections from this address"))
        client.text("x")
        assert client.hear_text().endswith("x")
        for wire in refused:
            wire.socket.close()

        def answered():
            with suppress(ConnectionError, AssertionError):
                return host.get("/who").status == 503

        host.wait(answered)


def test_behind_a_proxy_clients_are_counted_and_the_proxy_is_not(serve):
    host = serve(WHO, TRUST, "--limit=address_connections=2")
    idle = [host.wire() for _ in range(5)]
    mine = [host.client("/who", X_Forwarded_For="192.0.2.7") for _ in range(2)]
    with Client(host.port) as client:
        is_refused(client.upgrade("/who", X_Forwarded_For="192.0.2.7"), "address_connections")
    host.wait(lambda: host.count("remote=192.0.2.7"))
    with idle[0] as wire:  # one for another client each time
        assert wire.request("/who", X_Forwarded_For="192.0.2.8").status == 200
        is_refused(wire.request("/who", X_Forwarded_For="192.0.2.7"), "address_connections")
        assert wire.request("/who", X_Forwarded_For="192.0.2.9").status == 200
    for wire in idle[1:]:  # a connection of a proxy counts while it has a request, and stays open
        assert wire.request("/who", X_Forwarded_For="192.0.2.9").status == 200
    mine[0].socket.close()

    def again():
        with Client(host.port) as client:
            return client.upgrade("/who", X_Forwarded_For="192.0.2.7").status == 101

    host.wait(again)
    for wire in mine + idle:
        wire.socket.close()


def test_who_hides_behind_a_proxy_counts_as_the_proxy(serve):
    host = serve(WHO, TRUST, "--limit=address_connections=1")
    with host.client("/who", X_Forwarded_For="6.6.6.6, unknown"), Client(host.port) as client:
        is_refused(client.upgrade("/who", Forwarded='for="'), "address_connections")


def test_with_the_proxy_protocol_too(behind):
    _, port = behind(WHO, TRUST, "--limit=address_connections=1")
    with Client(port) as mine, Wire(port) as second, Client(port) as other:
        mine.send(v1("192.0.2.7"))
        assert mine.upgrade("/who").status == 101
        second.send(v2("192.0.2.7"))
        is_refused(second.answer(), "address_connections")
        assert second.rest() == b""
        other.send(v2("192.0.2.8"))
        assert other.upgrade("/who").status == 101


def until_refused(ask_one, most: int) -> int:
    """How many were allowed, until one was not: more than a second's where they take longer."""
    for allowed in range(1000):
        answer = ask_one()
        if answer.status != 101:
            is_refused(answer, "address_handshakes")
            assert allowed >= most
            return allowed
    raise AssertionError("never refused")


def test_an_address_has_so_many_handshakes_in_a_second(serve):
    host = serve(WHO, TRUST, "--limit=address_handshakes=3")

    def shake(**options):
        fields = options.pop("fields", {})
        with Client(host.port, **options) as client:
            return client.upgrade("/who", **fields)

    until_refused(lambda: shake(source=STRANGER), 3)
    until_refused(lambda: shake(fields={"X_Forwarded_For": "192.0.2.7"}), 3)
    host.wait(lambda: host.count("(address_handshakes)") >= 2)
    for _ in range(10):  # plain HTTP is none
        assert host.get("/who", X_Forwarded_For="192.0.2.7").status == 200
    host.wait(lambda: shake(source=STRANGER).status == 101)  # a share of a second later


def test_an_address_has_so_many_messages_in_a_second(serve):
    host = serve(ECHO, "--limit=address_messages=3")
    with host.client("/echo") as client, Client(host.port, source=STRANGER) as other:
        assert other.upgrade("/echo").status == 101
        for _ in range(5):
            client.send(frame(PING))  # does not count
            assert client.hear()[0] == PONG
        client.text("1", "2", "3", "4")  # one write, one read: one moment
        assert [client.hear_text() for _ in range(3)] == ["1", "2", "3"]
        code, reason = client.hear_close()
        assert code == 1008 and "address_messages" in reason
        other.text("1", "2", "3")
        assert [other.hear_text() for _ in range(3)] == ["1", "2", "3"]
    host.wait(lambda: host.count("address_messages") == 1 and host.count("code=1008") == 1)


def opcodes(client: Client, most: int) -> list[int]:
    """Of what it hears, up to a Close frame."""
    heard = []
    while len(heard) < most and CLOSE not in heard:
        heard.append(client.hear()[0])
    return heard


def test_messages_of_all_connections_of_an_address_count_together(serve):
    host = serve(ECHO, "--limit=address_messages=100")
    for _ in range(100):
        with host.client("/echo") as one, host.client("/echo") as two:
            one.text(*["x"] * 60)
            two.text(*["x"] * 60)
            if any(CLOSE in opcodes(client, 60) for client in (one, two)):
                break
    else:
        raise AssertionError("120 messages within a second, again and again")
    host.wait(lambda: host.count("address_messages"))


def test_off_is_the_default(serve):
    host = serve(ECHO)
    clients = [host.client("/echo") for _ in range(40)]
    for client in clients:
        client.text(*["x"] * 100)
    for client in clients:
        assert [client.hear_text() for _ in range(100)] == ["x"] * 100
        client.socket.close()


def test_the_log_holds_back_what_repeats(serve):
    host = serve(WHO, "--limit=address_connections=1")
    with host.client("/who"):
        for _ in range(60):
            with host.wire() as wire:
                assert wire.answer().status == 503
        host.wait(lambda: host.count("more="), START_S)
    assert 0 < host.count("(address_connections)") < 60
