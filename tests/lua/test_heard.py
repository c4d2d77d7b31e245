"""A text that came is known to be UTF-8. Nothing else is taken for it."""

import pytest


@pytest.mark.parametrize("size", [1, 40, 511, 512, 5000])
def test_only_the_text_that_came_is_sent_unchecked(host, size):
    with host.connect("/heard") as client:
        for message in ("x" * size, b"x" * size):
            assert client.ask(message) == message
            assert client.receive() == "wrong: 0"
