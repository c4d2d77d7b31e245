"""docs/reload.md: the chat that it changes is changed, while two people are connected."""

import re

from support.host import ROOT

PAGE = ROOT / "docs/reload.md"


def steps() -> list[str]:
    return re.findall(r"^```lua\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_steps_do_what_the_page_says(serve, folder):
    first, second, slip, another = steps()
    host = serve({"chat.lua": first})
    with host.client("/chat?name=ann") as ann, host.client("/chat?name=bob") as bob:

        def says(text: str) -> str:
            ann.text(text)
            heard = ann.hear_text()
            assert bob.hear_text() == heard
            return heard

        assert says("hello") == "ann: hello"
        folder({"chat.lua": second})
        host.wait(lambda: host.count("generation=2"))
        assert says("two") == "2 ann: two"
        folder({"chat.lua": slip})
        host.wait(lambda: host.count("not loaded: generation 2 goes on"))
        assert re.search(r"chat\.lua:\d+: 'end' expected", host.text())
        assert says("three") == "3 ann: three"
        folder({"chat.lua": another})
        host.wait(lambda: re.search(r'msg="loaded.* generation=3', host.text()))
        assert says("four") == "3+1 ANN: four"
        assert says("five") == "3+2 ANN: five"
