"""The files of public/: conditions, ranges, compressed ones, large ones, and files that change."""

import gzip
import os
import time
from contextlib import suppress

import pytest

from wire import head

TEXT = bytes(range(256)) * 4
PAGE = b"<!doctype html><title>here</title>" * 50
LARGE = os.urandom(4_000_000)
WAY_OUT = "/..\\secret /%2e%2e%5csecret /sub/..%5c..%5csecret /%5c..%5csecret /%252e%252e/secret"


@pytest.fixture
def host(serve):
    return serve(
        {
            "secret": "secret",
            "public/data.bin": TEXT,
            "public/empty": "",
            "public/page.html": PAGE,
            "public/page.html.gz": gzip.compress(PAGE),
            "public/large.bin": LARGE,
            "public/sub/index.html": "sub",
            "public/sub/index.html.gz": gzip.compress(b"sub"),
        }
    )


@pytest.fixture
def wire(host):
    with host.wire() as wire:
        yield wire


def test_what_is_said_of_a_file(wire):
    answer = wire.request("/data.bin")
    assert answer["etag"].startswith('"') and answer["last-modified"].endswith(" GMT")
    assert answer["accept-ranges"] == "bytes" and answer["vary"] is None


def test_conditions_by_tag_and_by_date(wire, tmp_path):
    os.utime(tmp_path / "public/data.bin", (784111777, 784111777))
    tag = wire.request("/data.bin")["etag"]
    for status, fields in [
        (304, {"If_None_Match": tag}),
        (304, {"If_None_Match": f'"x", W/{tag}'}),
        (304, {"If_None_Match": "*"}),
        (200, {"If_None_Match": '"x"'}),
        (304, {"If_Modified_Since": "Sun, 06 Nov 1994 08:49:37 GMT"}),
        (304, {"If_Modified_Since": "Mon, 07 Nov 1994 08:49:37 GMT"}),
        (304, {"If_Modified_Since": "Sunday, 06-Nov-94 08:49:37 GMT"}),
        (304, {"If_Modified_Since": "Sun Nov  6 08:49:37 1994"}),
        (200, {"If_Modified_Since": "Sun, 06 Nov 1994 08:49:36 GMT"}),
        (200, {"If_Modified_Since": "rubbish"}),
        # The tag is asked first, and alone.
        (200, {"If_None_Match": '"x"', "If_Modified_Since": "Mon, 07 Nov 1994 08:49:37 GMT"}),
        (200, {"If_Match": tag}),
        (412, {"If_Match": '"x"'}),
        (412, {"If_Unmodified_Since": "Sun, 06 Nov 1994 08:49:36 GMT"}),
    ]:
        for method in ("GET", "HEAD"):
            wire.send(head("/data.bin", method, **fields))
            answer = wire.answer(bodiless=status == 304 or method == "HEAD")
            assert (answer.status, answer["etag"]) == (status, tag), fields
            assert status != 304 or (answer.body, answer["content-length"]) == (b"", None)


def test_a_changed_file_has_another_tag(wire, tmp_path):
    first = wire.request("/data.bin")["etag"]
    (tmp_path / "public/new").write_bytes(TEXT[::-1])
    os.utime(tmp_path / "public/new", (1, 1))
    (tmp_path / "public/new").rename(tmp_path / "public/data.bin")
    answer = wire.request("/data.bin", If_None_Match=first)
    assert (answer.status, answer.body) == (200, TEXT[::-1]) and answer["etag"] != first


def test_a_single_range_is_206(wire):
    for text, first, last in [
        ("0-0", 0, 0),
        ("10-19", 10, 19),
        ("1000-", 1000, 1023),
        ("-5", 1019, 1023),
        ("-5000", 0, 1023),
        ("5-5000", 5, 1023),
    ]:
        answer = wire.request("/data.bin", Range=f"bytes={text}")
        assert (answer.status, answer.body) == (206, TEXT[first : last + 1]), text
        assert answer["content-range"] == f"bytes {first}-{last}/1024"
        assert answer["etag"] and answer["content-type"] == "application/octet-stream"


def test_a_range_that_is_not_there_is_416_and_others_are_ignored(wire):
    for text in ("1024-", "5000-6000", "-0", "99999999999999999999999-"):
        answer = wire.request("/data.bin", Range=f"bytes={text}")
        assert (answer.status, answer.body) == (416, b""), text
        assert answer["content-range"] == "bytes */1024"
    assert wire.request("/empty", Range="bytes=0-")["content-range"] == "bytes */0"
    for value in ("bytes=0-1,5-6", "bytes=5-2", "bytes=x-", "lines=0-1", "bytes=", "0-1"):
        answer = wire.request("/data.bin", Range=value)
        assert (answer.status, answer.body, answer["content-range"]) == (200, TEXT, None), value
    assert wire.request("/data.bin", "HEAD", Range="bytes=0-1")["content-length"] == "1024"


def test_if_range_gives_the_rest_of_the_same_version_only(wire):
    whole = wire.request("/data.bin")
    for value, status in [
        (whole["etag"], 206),
        (whole["last-modified"], 206),
        ('"x"', 200),
        ("W/" + whole["etag"], 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ]:
        answer = wire.request("/data.bin", Range="bytes=1-2", If_Range=value)
        assert answer.status == status, value
        assert answer.body == (TEXT[1:3] if status == 206 else TEXT)


def test_the_compressed_file_goes_to_those_who_take_it(wire):
    plain = wire.request("/page.html")
    assert (plain.body, plain["content-encoding"]) == (PAGE, None)
    assert plain["vary"] == "Accept-Encoding"
    for value in ("gzip", "deflate, gzip;q=0.5, br", "*", "x-gzip"):
        answer = wire.request("/page.html", Accept_Encoding=value)
        assert gzip.decompress(answer.body) == PAGE, value
        assert (answer["content-encoding"], answer["vary"]) == ("gzip", "Accept-Encoding")
        assert answer["content-type"] == "text/html; charset=utf-8"
        assert answer["etag"] != plain["etag"]
    for value in ("gzip;q=0", "br", "identity", "*;q=0", "gzip;q=0.1, identity;q=0.2", ""):
        answer = wire.request("/page.html", Accept_Encoding=value)
        assert (answer.body, answer["etag"]) == (PAGE, plain["etag"]), value
    answer = wire.request("/sub/", Accept_Encoding="gzip")
    assert gzip.decompress(answer.body) == b"sub"


def test_conditions_and_ranges_are_of_the_compressed_file_itself(wire, tmp_path):
    packed = (tmp_path / "public/page.html.gz").read_bytes()
    tag = wire.request("/page.html", "HEAD", Accept_Encoding="gzip")["etag"]
    wire.send(head("/page.html", Accept_Encoding="gzip", If_None_Match=tag))
    answer = wire.answer(bodiless=True)
    assert (answer.status, answer["etag"], answer["vary"]) == (304, tag, "Accept-Encoding")
    assert wire.request("/page.html", If_None_Match=tag).status == 200
    answer = wire.request("/page.html", Accept_Encoding="gzip", Range="bytes=2-9", If_Range=tag)
    assert (answer.status, answer.body) == (206, packed[2:10])


def test_a_compressed_file_that_is_older_or_alone_is_not_used(wire, tmp_path):
    public = tmp_path / "public"
    os.utime(public / "page.html.gz", (1000, 1000))
    answer = wire.request("/page.html", Accept_Encoding="gzip")
    assert (answer.body, answer["content-encoding"], answer["vary"]) == (PAGE, None, None)
    (public / "page.html").unlink()
    assert wire.request("/page.html", Accept_Encoding="gzip").status == 404
    answer = wire.request("/page.html.gz", Accept_Encoding="gzip")
    assert (answer["content-type"], answer["content-encoding"]) == ("application/gzip", None)


def test_a_large_file_and_its_ranges_come_whole(wire):
    for first, last in [(0, len(LARGE) - 1), (1, len(LARGE) - 1), (0, 32767), (0, 32768),
                        (5, 32773), (123_456, 3_999_998), (3_999_999, 3_999_999)]:  # fmt: skip
        wire.send(head("/large.bin", Range=f"bytes={first}-{last}"), head("/empty"))
        assert wire.answer().body == LARGE[first : last + 1], (first, last)
        assert wire.answer().status == 200  # and nothing is left between the two


def test_head_is_the_same_without_the_body(wire):
    for path, fields in [("/large.bin", {}), ("/page.html", {"Accept_Encoding": "gzip"}),
                         ("/nowhere", {}), ("/sub", {})]:  # fmt: skip
        got, asked = wire.request(path, **fields), wire.request(path, "HEAD", **fields)
        del got.fields["date"], asked.fields["date"]
        assert (asked.status, asked.fields, asked.body) == (got.status, got.fields, b"")


@pytest.mark.parametrize("path", WAY_OUT.split())
def test_backslashes_and_double_escapes_lead_nowhere(wire, path):
    answer = wire.request(path)
    assert answer.status == 404 and b"secret" not in answer.body


def test_no_link_is_followed_wherever_it_leads(wire, tmp_path):
    public = tmp_path / "public"
    (public / "out").symlink_to(tmp_path / "secret")
    (public / "up").symlink_to("..")
    (public / "in").symlink_to("data.bin")
    (public / "folder").symlink_to("sub")
    (public / "data.bin.gz").symlink_to("../secret")
    for path in ("/out", "/up/secret", "/in", "/folder/", "/folder/index.html", "/folder"):
        assert wire.request(path).status == 404, path
    assert wire.request("/data.bin", Accept_Encoding="gzip").body == TEXT


def begin_large(host, path):
    """A reader that has read the head, and takes no more than fits into buffers."""
    wire = host.wire(receive_buffer=4096)
    wire.send(head(path))
    while b"\r\n\r\n" not in wire.buffer:
        assert wire.more()
    return wire


def finish(wire) -> int:
    """How many bytes of the body came until the end, however it came."""
    with suppress(ConnectionResetError):
        while wire.more():
            pass
    return len(wire.buffer.split(b"\r\n\r\n", 1)[1])


@pytest.mark.parametrize("change", ["truncate", "rewrite", "append"])
def test_a_file_that_changes_while_it_is_sent_ends_the_connection(host, tmp_path, change):
    path = tmp_path / "public/huge.bin"
    path.write_bytes(b"a" * 30_000_000)
    os.utime(path, (1000, 1000))
    with begin_large(host, "/huge.bin") as wire:
        if change == "truncate":
            os.truncate(path, 20_000_000)
        else:
            with path.open("r+b" if change == "rewrite" else "ab") as file:
                file.write(b"b" * 1_000)
        assert finish(wire) < 30_000_000
    host.wait_log("a file changed while it was sent")


def test_a_file_that_is_replaced_while_it_is_sent_comes_as_it_was(host, tmp_path):
    path = tmp_path / "public/huge.bin"
    path.write_bytes(b"a" * 30_000_000)
    with begin_large(host, "/huge.bin") as wire:
        (tmp_path / "public/next").write_bytes(b"b")
        (tmp_path / "public/next").rename(path)
        assert finish(wire) == 30_000_000
        assert b"b" not in wire.buffer.split(b"\r\n\r\n", 1)[1]


def test_files_are_not_read_into_memory_for_those_who_do_not_read(host, tmp_path):
    (tmp_path / "public/huge.bin").write_bytes(b"a" * 30_000_000)

    def resident() -> int:
        with open(f"/proc/{host.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    wires = [begin_large(host, "/huge.bin") for _ in range(20)]
    time.sleep(0.3)
    assert resident() - before < 30_000_000
    for wire in wires:
        wire.socket.close()
