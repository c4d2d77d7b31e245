"""TLS: versions, names, tickets, reloads, and peers that do with records what they like."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
from contextlib import suppress

import pytest
from wire_tls import TLS12, TLS13, TlsClient, say

from conftest import TALK, Host, program
from support.browser import Browser, ChatPage
from support.host import SCRIPTS, Process, wait_until
from support.records import CLIENT_HELLO, HANDSHAKE, Records
from wire import (
    CLOSE,
    LIMIT_S,
    PING,
    PONG,
    TEXT,
    Wire,
    close_frame,
    frame,
    head,
    upgrade_head,
)


@pytest.fixture
def run_plain(folder):
    """A host that listens on no port: run_plain(FLAGS..)."""
    processes = []

    def start(*flags: str) -> Process:
        processes.append(Process([program(), "serve", str(folder({})), *flags]))
        return processes[-1]

    yield start
    for process in processes:
        process.signal()
        assert process.end() == 0


def ask(dial, host: Host, query: str = "") -> dict:
    client = dial(host)
    answer = client.request(f"/talk{query}", Connection="close")
    assert answer.status == 200
    client.socket.close()
    return json.loads(answer.body)


# Versions, ALPN, ciphers


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_websocket_by_tls_talks_and_ends_with_goodbyes_both_ways(talk, join, version):
    host = talk()
    assert host.http.startswith("https://localhost:")
    client = join(host, version)
    assert client.tls.version() == version.name.replace("v1_", "v1.")
    assert re.search("GCM|CHACHA20", client.tls.cipher()[0])
    assert client.tls.compression() is None
    say(client, "hello")
    client.send(close_frame(1000))
    assert client.hear_close() == (1000, "")
    assert client.rest() == b"" and client.goodbye
    assert host.complaints() == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_older_versions_are_refused_and_the_log_says_so(talk, authority, dial, version):
    host = talk()
    context = authority.context(version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        dial(host, context=context)
    host.wait_log('msg="TLS handshake failed" why="unsupported protocol" remote=127.0.0.1')


@pytest.mark.parametrize("name", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(talk, authority, dial, name):
    context = authority.context(TLS12)
    context.set_ciphers(name)
    with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
        dial(talk(), context=context)


def test_alpn_is_http_1_1_or_nothing(talk, authority, dial):
    host = talk()
    context = authority.context()
    assert dial(host, context=context).tls.selected_alpn_protocol() is None
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert dial(host, context=context).tls.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        dial(host, context=context)


# Tickets


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_ticket_resumes_a_session_also_after_a_reload(talk, join, authority, version):
    host = talk()
    context = authority.context(version)
    first = join(host, context=context)
    say(first, "the tickets of 1.3 come with this")
    assert not first.tls.session_reused
    host.signal(signal.SIGHUP)
    host.wait_log("certificate read anew")
    second = join(host, context=context, session=first.tls.session)
    assert second.tls.session_reused
    say(second, "again")


# Records as the peer likes them


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_handshake_byte_by_byte_is_a_handshake(talk, join, version):
    client = join(talk(), version, byte_by_byte=True)
    client.trickle(client.seal(frame(TEXT, "slowly")))
    assert client.hear_text() == "slowly"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_many_records_in_one_segment_are_all_heard(talk, join, version):
    """None may wait in OpenSSL for a socket that will not be readable again."""
    client = join(talk(), version)
    texts = [str(i) for i in range(3000)]
    client.socket.sendall(client.seal(*(frame(TEXT, text) for text in texts)))
    assert [client.hear_text() for _ in texts] == texts


def test_the_first_bytes_may_come_with_the_end_of_the_handshake(talk, dial):
    client = dial(talk(), TLS13, handshake=False)
    client.shake_hands(hold=True)
    client.socket.sendall(client.seal(upgrade_head("/talk"), frame(TEXT, "hi")))
    assert client.answer().status == 101
    assert client.hear_text() == "hi"


def test_who_resets_right_behind_handshake_and_request_stops_nobody_else(talk, dial):
    """They arrive at once, and no ticket can be sent any more: the host went round for ever."""
    host = talk()
    client = dial(host, TLS13, handshake=False)
    client.shake_hands(hold=True)
    with host.stopped():
        client.socket.sendall(client.seal(upgrade_head("/talk"), frame(TEXT, "hi")))
        client.reset()
    assert ask(dial, host)["count"] == 0


def test_a_broken_record_right_behind_handshake_and_request_costs_its_connection_only(talk, dial):
    host = talk()
    client = dial(host, TLS13, handshake=False)
    client.shake_hands(hold=True)
    client.socket.sendall(client.seal(upgrade_head("/talk")) + b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        client.rest()
    assert ask(dial, host)["count"] == 0


def test_a_frame_may_be_cut_anywhere_by_records(talk, join):
    client = join(talk())
    bytes_ = frame(TEXT, "x" * 300) + frame(PING, b"p") + frame(TEXT, "y")
    for i in range(len(bytes_)):
        client.socket.sendall(client.seal(bytes_[i : i + 1]))
    assert client.hear_text() == "x" * 300
    assert client.hear() == (PONG, b"p")
    assert client.hear_text() == "y"


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_large_messages_go_both_ways(talk, join, version):
    client = join(talk(), version)
    for size in (0, 1, 16383, 16384, 16385, 65536, 300_000, 1 << 20):
        say(client, "m" * size)


def test_large_messages_both_ways_at_once_do_not_lock_up(talk, join):
    """The host can't write while the client doesn't read, and still has to read."""
    client = join(talk())
    size, count = 500_000, 12
    client.socket.settimeout(0.1)
    left = client.seal(*(frame(TEXT, "m" * size) for _ in range(count)))
    while left:
        try:
            left = left[client.socket.send(left) :]
        except TimeoutError:
            client.socket.settimeout(LIMIT_S)
            assert client.hear_text() == "m" * size
            client.socket.settimeout(0.1)
            count -= 1
    client.socket.settimeout(LIMIT_S)
    for _ in range(count):
        assert client.hear_text() == "m" * size


def openssl(host: Host, *args: str) -> subprocess.Popen:
    if not (path := shutil.which("openssl")):
        pytest.fail("no openssl here: tools/setup test installs it")
    return subprocess.Popen(
        [path, "s_client", "-connect", f"127.0.0.1:{host.port}", *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def converse(process: subprocess.Popen, *steps: tuple[bytes, bytes]) -> bytes:
    """Types each, and waits for what must come of it. All that came."""
    os.set_blocking(process.stdout.fileno(), False)
    seen = b""
    try:
        for typed, expected in steps:
            process.stdin.write(typed)
            process.stdin.flush()
            end = time.monotonic() + LIMIT_S
            at = len(seen)
            while expected not in seen[at:]:
                over = process.poll() is not None or time.monotonic() > end
                chunk = process.stdout.read()
                assert chunk or not over, seen.decode(errors="replace")
                seen += chunk or b""
                time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    return seen


def test_renegotiation_is_refused(talk):
    process = openssl(talk(), "-tls1_2")
    seen = converse(process, (b"", b"Verify return code"), (b"R\n", b"no renegotiation"))
    assert b"Compression: NONE" in seen and b"Secure Renegotiation IS supported" in seen


def test_a_key_update_that_is_asked_for_is_answered(talk):
    request = head("/talk").replace(b"\r\n", b"\n")
    process = openssl(talk(), "-tls1_3", "-crlf")
    converse(
        process,
        (b"", b"Verify return code"),
        (b"K\n", b"KEYUPDATE"),
        (request, b"200 OK"),
        (b"K\n", b"KEYUPDATE"),
        (request, b"200 OK"),
    )


def until_data(records: Records) -> list[int]:
    """The kinds of the records that come, up to the first of data."""
    kinds, data = [], b""
    while 23 not in kinds:
        data += (more := records.socket.recv(65536))
        assert more, f"an end behind {kinds}"
        while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[3:5])):
            kinds.append(data[0])
            data = data[end:]
    return kinds


def test_a_few_renegotiations_are_refused_and_many_at_once_are_cut_off(talk, authority, join):
    host = talk()
    good = join(host)
    few, many = (Records(host.wire().socket, authority.context(), TLS12) for _ in range(2))

    def ask_for(one: Records, count: int) -> None:
        asked = b"".join(one.seal(CLIENT_HELLO, HANDSHAKE) for _ in range(count))
        one.socket.sendall(asked + one.seal(head("/talk")))

    for _ in range(3):
        ask_for(few, 16)
        assert until_data(few) == [21] * 16 + [23]
    ask_for(many, 200)
    with suppress(ConnectionResetError):
        while answer := many.socket.recv(65536):
            assert len(answer) < 64 * 31
    host.wait_log('msg="TLS failed" why="too many key updates or renegotiations at once"')
    say(good, "still here")


def test_many_key_updates_at_once_are_cut_off(talk, authority, join):
    host = talk()
    good = join(host)
    few, many = (Records(host.wire().socket, authority.context(), TLS13) for _ in range(2))
    for _ in range(3):
        few.socket.sendall(b"".join(few.key_update() for _ in range(16)) + few.seal(head("/talk")))
        assert few.hear().startswith(b"HTTP/1.1 200 OK")
    many.socket.sendall(b"".join(many.key_update() for _ in range(200)) + many.seal(head("/talk")))
    assert many.hear() == b""
    host.wait_log('msg="TLS failed" why="too many key updates or renegotiations at once"')
    say(good, "still here")


# Ends


def test_a_socket_that_ends_without_goodbye_is_an_end_like_any_other(talk, dial, join):
    host = talk()
    join(host).socket.close()
    join(host).reset()
    part = join(host)
    part.socket.sendall(part.seal(frame(TEXT, "x" * 5000))[:-100])
    part.socket.close()
    goodbye = join(host)
    goodbye.socket.sendall(goodbye.seal_goodbye())
    assert goodbye.rest() == b"" and goodbye.goodbye
    host.wait(lambda: ask(dial, host)["closes"] == [1006] * 4)
    assert ask(dial, host)["count"] == 0
    assert host.count("TLS failed") == 0, host.text()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_says_goodbye_behind_a_request_is_answered(talk, dial, version):
    """close_notify in the same segment, and no FIN that would make the socket readable again."""
    host = talk()
    for query in ("", "?sleep=0.1"):
        client = dial(host, version)
        client.socket.sendall(client.seal(head(f"/talk{query}")) + client.seal_goodbye())
        assert client.answer().status == 200
        assert client.rest() == b"" and client.goodbye


def test_who_says_goodbye_behind_a_message_is_heard_and_ended(talk, dial, join):
    """The same for a WebSocket: nothing but the goodbye says that it has ended."""
    host = talk()
    client = join(host)
    client.socket.sendall(client.seal(frame(TEXT, "the last word")) + client.seal_goodbye())
    assert client.hear_text() == "the last word"
    assert client.rest() == b"" and client.goodbye
    host.wait(lambda: ask(dial, host)["closes"] == [1006])


def test_a_broken_record_costs_its_connection_only(talk, dial, join):
    host = talk()
    bad, good = join(host), join(host)
    record = bytearray(bad.seal(frame(TEXT, "x" * 100)))
    record[-1] ^= 1
    bad.socket.sendall(record)
    host.wait_log('msg="TLS failed" why="decryption failed or bad record mac" remote=127.0.0.1')
    host.wait(lambda: ask(dial, host)["closes"] == [1006])
    say(good, "still here")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_broken_record_right_behind_the_first_bytes_does_not_stop_the_host(
    talk, dial, join, version
):
    host = talk()
    good = join(host)
    bad = dial(host, version, handshake=False)
    bad.shake_hands(hold=True)
    bad.socket.sendall(bad.seal(head("/talk")) + b"\x17\x03\x03\x00\x20" + bytes(32))
    say(good, "still here")
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        bad.rest()


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_who_is_gone_right_behind_its_first_bytes_does_not_stop_the_host(talk, dial, join, version):
    host = talk()
    good = join(host)
    for _ in range(50):
        bad = dial(host, version, handshake=False)
        bad.shake_hands(hold=True)
        bad.socket.sendall(bad.seal(head("/talk")))
        bad.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        bad.socket.close()
    say(good, "still here")


def test_a_handshake_that_takes_too_long_is_cut_off(talk):
    host = talk(head_s=1.5)
    with host.wire() as silent, host.wire() as slow:
        slow.send(b"\x16\x03\x01\x02\x00\x01")
        assert silent.rest() == slow.rest() == b""
    host.wait_log('msg="TLS handshake failed" why="it is late (head_s)"', 2)


def test_a_head_that_is_late_is_408_by_tls(talk, dial):
    client = dial(talk(head_s=3))
    assert client.answer().status == 408
    assert client.rest() == b"" and client.goodbye


# Peers that speak something else


@pytest.mark.parametrize("begin", [Wire.send, Wire.trickle])
def test_plain_http_hears_that_this_port_speaks_tls(talk, begin):
    host = talk()
    with host.wire() as wire:
        begin(wire, head("/talk"))
        answer = wire.answer()
        assert (answer.status, answer["connection"]) == (400, "close")
        assert answer.body == b"400 Bad Request: this port speaks TLS: use https:// or wss://\n"
        assert wire.rest() == b""
    host.wait_log("this port speaks TLS")


def test_rubbish_ends_and_does_not_fill_the_log(talk, join):
    host = talk()
    wires = [host.wire() for _ in range(300)]
    for wire in wires:
        wire.send(b"\x00\xff rubbish " * 4)
    for wire in wires:
        wire.rest()
        wire.socket.close()
    say(join(host), "still here")
    host.wait(lambda: host.count("TLS handshake failed") >= 10)
    assert host.count("TLS handshake failed") < 200, host.text()


def test_who_says_nothing_and_leaves_is_no_news(talk, join):
    host = talk()
    for _ in range(5):
        host.wire().socket.close()
    say(join(host), "still here")
    assert host.count("TLS handshake failed") == 0


def test_a_client_that_does_not_trust_us_is_in_the_log(talk, dial):
    host = talk()
    with pytest.raises(ssl.SSLCertVerificationError):
        dial(host, context=ssl.create_default_context())
    host.wait_log('msg="TLS handshake failed" why="tlsv1 alert unknown ca" remote=127.0.0.1')


# Beside the WebSocket


def test_unix_sockets_stay_plain(serve, pair, dial, tmp_path):
    path = tmp_path / "p.sock"
    host = serve(
        {"talk.lua": TALK}, *pair.flags, "--port=0", f"--listen=unix:{path}", "--host=127.0.0.1"
    )
    dial(host)
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(LIMIT_S)
        plain.connect(str(path))
        plain.sendall(head("/talk"))
        assert plain.recv(12) == b"HTTP/1.1 200"


def test_certificates_for_unix_sockets_only_are_told_to_be_of_no_use(run_plain, pair, tmp_path):
    process = run_plain(*pair.flags, f"--listen=unix:{tmp_path}/p.sock")
    process.wait_for_line(re.compile("listening on unix:"), LIMIT_S)
    wait_until(lambda: "tls_cert is of no use" in "".join(process.log), "a warning")


def test_one_too_many_hears_so_by_tls(talk, dial):
    host = talk(connections=1)
    dial(host)
    answer = dial(host).answer()
    assert (answer.status, answer["retry-after"]) == (503, "10")


def test_files_go_out_whole(serve, pair, dial):
    big = os.urandom(3_000_000)
    host = serve({"talk.lua": TALK, "public/big.bin": big, "public/a.txt": b"small"}, *pair.flags)
    client = dial(host, receive_buffer=8192)
    assert client.request("/big.bin").body == big
    assert client.request("/a.txt").body == b"small"
    part = client.request("/big.bin", Range="bytes=1000000-2500000")
    assert (part.status, part.body) == (206, big[1_000_000:2_500_001])
    assert client.request("/big.bin", "HEAD")["content-length"] == str(len(big))
    pipelined = head("/big.bin") + head("/a.txt")
    client.send(pipelined)
    assert (client.answer().body, client.answer().body) == (big, b"small")


def test_a_body_comes_whole(talk, dial):
    client = dial(talk())
    answer = client.request("/talk", "POST", b"b" * 1_000_000)
    assert json.loads(answer.body)["body"] == 1_000_000


def test_pages_of_the_same_host_may_connect_and_no_others(talk, dial):
    host = talk()
    at = f"localhost:{host.port}"
    assert dial(host).upgrade("/talk", Host=at, Origin=f"https://{at}").status == 101
    assert dial(host).upgrade("/talk", Host=at, Origin="https://evil.example").status == 403


# Behind a proxy that passes TLS on: a PROXY header comes first, and in the clear

PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 443\r\n"
WHO = "return { request = function(req) return 200, req.remote end }"


@pytest.fixture
def behind(serve, pair, authority):
    """A client whose handshake is yet to come: behind() -> (host, client)."""
    clients = []

    def start():
        flags = ("--listen=proxy:127.0.0.1:0", "--trusted-proxies=127.0.0.1")
        host = serve({"who.lua": WHO}, *pair.flags, *flags)
        (line,) = host.wait(lambda: [line for line in host.out if " proxy:" in line])
        port = int(line.rpartition(":")[2])
        clients.append(TlsClient(port, authority.context(), handshake=False))
        return host, clients[-1]

    yield start
    for client in clients:
        client.socket.close()


@pytest.mark.parametrize("cut", [0, 1, len(PROXY) - 1, len(PROXY)])
def test_a_proxy_says_whom_a_tls_connection_is_from(behind, cut):
    host, client = behind()
    begin = [PROXY[:cut], PROXY[cut:]]

    def send(data: bytes) -> None:
        client.socket.sendall(begin.pop(0) if len(begin) > 1 else b"")
        client.socket.sendall(begin.pop() + data if begin else data)

    client.shake_hands(send)
    assert client.request("/who").body == b"192.0.2.7"
    assert host.count("TLS handshake failed") == 0


def test_a_proxy_header_byte_by_byte_before_tls(behind):
    _, client = behind()
    client.trickle(PROXY)
    client.shake_hands(client.trickle)
    assert client.request("/who").body == b"192.0.2.7"


def test_tls_without_the_header_that_is_expected_is_refused(behind):
    host, client = behind()
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        client.shake_hands()
    host.wait_log("no header of the PROXY protocol, or a malformed one")


# Slow readers


def fill(dial, host: Host, slow: str, size: int) -> None:
    """Broadcasts until something waits for the slow one."""
    for _ in range(400):
        if ask(dial, host, f"?slow={slow}&size={size}")["buffered"] > 0:
            return
    raise AssertionError("its socket takes everything")


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_slow_reader_is_closed_with_1013_behind_whole_frames(talk, dial, join, version):
    host = talk(outbox_soft="64 KiB")
    client = join(host, version, "/talk?feed=yes", receive_buffer=4096)
    fill(dial, host, "close", 200_000)
    ask(dial, host, "?slow=close&size=200000")
    host.wait(lambda: ask(dial, host)["closes"] == [1013])
    while (heard := client.hear())[0] == TEXT:
        assert heard[1] == b"x" * 200_000
    assert heard == (CLOSE, (1013).to_bytes(2) + b"too slow")
    assert client.rest() == b"" and client.goodbye


def test_what_a_slow_reader_misses_is_counted_and_the_rest_is_whole(talk, dial, join):
    host = talk(outbox_soft="64 KiB")
    client = join(host, path="/talk?feed=yes", receive_buffer=4096)
    fill(dial, host, "drop", 200_000)
    for _ in range(5):
        ask(dial, host, "?slow=drop&size=200000")
    while not (drains := ask(dial, host)["drains"]):
        assert client.hear_text() == "x" * 200_000
    assert drains == [5]
    client.text("in step again")
    while (text := client.hear_text()) != "in step again":
        assert text == "x" * 200_000


def test_who_reads_nothing_is_lost_after_stall_s(talk, dial, join):
    host = talk(stall_s=1)
    client = join(host, path="/talk?feed=yes", receive_buffer=4096)
    fill(dial, host, "close", 60_000)
    host.wait_log('why="it takes nothing (stall_s)"')
    host.wait(lambda: ask(dial, host)["closes"] == [1006])
    client.socket.close()


# The host's end


def test_a_host_that_stops_closes_in_order(talk, join):
    host = talk()
    client = join(host)
    host.signal()
    assert client.hear_close()[0] == 1001
    client.send(close_frame(1001))
    assert client.rest() == b"" and client.goodbye
    assert host.end() == 0


# A browser


def test_two_pages_chat_by_tls(pair):
    flags = ("--ignore-certificate-errors",)
    with Host(SCRIPTS, pair.flags) as host, Browser(*flags) as one, Browser(*flags) as two:
        ann, bo = (ChatPage(browser, f"{host.http}/#tea") for browser in (one, two))
        ann.rename("Ann")
        bo.rename("Bo")
        ann.say("Is this private?")
        bo.wait_for_message("Ann", "Is this private?")
        bo.say("Nobody between us reads it.")
        ann.wait_for_message("Bo", "Nobody between us reads it.")
        assert one.console() == two.console() == []
        assert host.count("TLS") == 0, host.text()
