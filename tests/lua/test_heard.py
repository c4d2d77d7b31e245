"""A text that came is known to be UTF-8. Nothing else is taken for it."""

import pytest


@pytest.mark.parametrize("size", [1, 40, 511, 512, 5000])
def test_only_the_text_that_came_is_sent_unchecked(host, size):
    with host.connect("/heard") as client:
        for message in ("x" * size, b"x" * size):
            assert client.ask(message) == message
            assert client.receive() == "wrong: 0"


@pytest.mark.parametrize("size", [600, 16379, 16380, 20000, 60000])
@pytest.mark.parametrize("unit", ["x", "\u00e9", b"x", b"\xff"])
def test_what_came_is_sent_as_it_came_however_often_and_late(host, unit, size):
    data = unit * (size // 2)
    plain = data if isinstance(data, bytes) else data.encode()
    with host.connect("/heard_again") as other, host.connect("/heard_again") as client:
        client.send(data)
        assert client.receive() == data
        other.send("y" * size)  # is read where that lay
        assert client.receive() == data
        if unit == b"\xff":
            assert "UTF-8" in client.receive()
        else:
            assert client.receive() == plain.decode()
            assert client.receive() == "text"
        assert client.receive() == plain
        assert client.receive() == data
        got = [other.receive() for _ in range(8)]
        assert got.count(data) == 1
        assert set(got) <= {data, "y" * size, b"y" * size, "text"}
