"""perigee connect where a side is slow, where a signal comes, and where a side goes away."""

import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from support.server import Server, close, hear, upgraded
from wire import BINARY, CLOSE, LIMIT_S, TEXT, frame


def waits_full(fill, process) -> None:
    """Until fill() makes no progress any more and the process sleeps."""
    seen = -1
    while True:
        now = fill()
        state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1][0]
        if now == seen and state == "S":
            return
        seen = now
        time.sleep(0.2)


def resident(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def test_a_peer_that_reads_nothing_stops_stdin(started):
    release, got = threading.Event(), []

    def serve(connection, head):
        connection.sendall(upgraded(head))
        release.wait(60)
        while True:
            opcode, payload = hear(connection)
            if opcode == CLOSE:
                connection.sendall(close(1000))
                return
            got.append(payload)

    server = Server(serve)
    run = started(server.url)
    line = b"q" * 1023 + b"\n"
    os.set_blocking(run.process.stdin.fileno(), False)
    sent = 0

    def fill():
        nonlocal sent
        try:
            while sent < 256 << 20:
                sent += os.write(run.process.stdin.fileno(), line * 4)
        except BlockingIOError:
            pass
        return sent

    waits_full(fill, run.process)
    assert sent < 256 << 20
    release.set()
    os.set_blocking(run.process.stdin.fileno(), True)
    if sent % 1024:
        os.write(run.process.stdin.fileno(), line[sent % 1024 :])
    run.process.stdin.close()
    assert run.process.wait(60) == 0
    server.end()
    assert len(got) == (sent + 1023) // 1024 and set(got) == {line[:-1]}


def test_lines_go_out_where_nothing_else_happens(started):
    count = 40_000
    got = []

    def serve(connection, head):
        connection.sendall(upgraded(head))
        got.extend(hear(connection)[1] for _ in range(count))

    server = Server(serve)
    run = started(server.url)
    run.process.stdin.write(b"x\n" * count)  # makes many times of what the link takes at once
    run.process.stdin.flush()
    server.end()  # stdin is still open
    assert got == [b"x"] * count
    run.process.kill()


def test_a_stdout_that_nobody_reads_stops_the_socket(started):
    message = b"m" * 1023
    sent, release = [0], threading.Event()

    def serve(connection, head):
        connection.settimeout(60)
        connection.sendall(upgraded(head))
        data = frame(TEXT, message, mask=False) * 64
        while not release.is_set() and sent[0] << 10 < 256 << 20:
            connection.sendall(data)
            sent[0] += 64
        connection.sendall(close(1000))
        hear(connection)

    server = Server(serve)
    run = started("--wait=forever", server.url)
    waits_full(lambda: sent[0], run.process)
    assert sent[0] << 10 < 256 << 20
    assert resident(run.process) < 512 << 20  # with a sanitizer's shadow
    release.set()
    status, out, err = run.end()
    assert status == 0, err
    server.end()
    assert out == (message + b"\n") * sent[0]


def test_an_echo_is_read_no_faster_than_it_is_taken(started):
    message = frame(BINARY, b"m" * 1020, mask=False)  # 1 KiB of it
    data = message * 64
    sent, release = [0], threading.Event()

    def serve(connection, head):
        connection.sendall(upgraded(head))
        connection.settimeout(0.1)
        while not release.is_set() and sent[0] < 256 << 20:
            with suppress(TimeoutError):
                sent[0] += connection.send(data[sent[0] % len(data) :])
        connection.settimeout(60)
        rest = message[sent[0] % len(message) :] if sent[0] % len(message) else b""
        writer = threading.Thread(target=connection.sendall, args=(rest,))
        writer.start()
        for _ in range((sent[0] + len(rest)) // len(message)):
            assert hear(connection) == (BINARY, b"m" * 1020)
        writer.join()
        connection.sendall(close(1000))
        hear(connection)

    server = Server(serve)
    run = started("--echo", server.url)
    waits_full(lambda: sent[0], run.process)
    assert sent[0] < 256 << 20
    release.set()
    assert run.end() == (0, b"", "")
    server.end()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1000), (signal.SIGTERM, 1001)])
def test_a_signal_closes_in_order(started, number, code):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "ready", mask=False))
        heard.append(hear(connection))
        connection.sendall(close(code))

    server = Server(serve)
    run = started(server.url)
    assert run.process.stdout.readline() == b"ready\n"
    run.process.send_signal(number)
    assert run.process.wait(60) == 0
    server.end()
    assert heard == [(CLOSE, code.to_bytes(2))]


def test_a_second_signal_ends_at_once(started):
    closing = threading.Event()

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "ready", mask=False))
        hear(connection)
        closing.set()
        while connection.recv(65536):
            pass

    server = Server(serve)
    run = started(server.url)
    assert run.process.stdout.readline() == b"ready\n"
    run.process.send_signal(signal.SIGINT)
    assert closing.wait(LIMIT_S)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(60) == 1
    server.end()


def test_a_reader_that_goes_ends_it(started):
    heard = []

    def serve(connection, head):
        connection.sendall(upgraded(head) + frame(TEXT, "first", mask=False))
        heard.append(hear(connection))
        connection.sendall(close(1001))

    server = Server(serve)
    run = started(server.url)
    assert run.process.stdout.readline() == b"first\n"
    run.process.stdout.close()
    assert run.process.wait(60) == 1
    assert run.process.stderr.read() == b""
    server.end()
    assert heard == [(CLOSE, (1001).to_bytes(2))]


def test_a_close_before_all_was_sent_is_a_failure(started):
    def serve(connection, head):
        connection.sendall(upgraded(head))
        connection.recv(1)
        connection.sendall(close(1000))
        ended.wait(60)

    ended = threading.Event()
    server = Server(serve)
    run = started(server.url)
    status, _, err = run.end(b"w" * (15 << 20) + b"\n")
    ended.set()
    assert status == 1
    assert "closed before all was sent" in err
    server.end()
