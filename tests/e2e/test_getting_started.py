"""Somebody reads docs/getting-started.md and does what it says."""

import os
from pathlib import Path

import pytest

from conftest import program
from support.browser import PAGE_S, Browser
from support.host import ROOT, environment, wait_until
from support.page import Reader, matches, steps

PAGE = ROOT / "docs/getting-started.md"

# A clone and `make run` are left to tests/acceptance.
INSTEAD = {
    "make run": f"perigee serve {ROOT / 'scripts'}",
    'export PATH="$PWD/build/release:$PATH"': "true",
}


def test_every_step_of_getting_started_does_what_the_page_says(tmp_path):
    env = environment(PATH=f"{Path(program()).resolve().parent}:{os.environ['PATH']}")
    with Reader(PAGE, tmp_path, env, instead=INSTEAD) as reader:
        reader.follow()
        assert reader.done > 20
        # What is left to the reader: the page, in two windows with two names.
        with Browser() as browser:
            driver = browser.driver

            def lines():
                return driver.execute_script(
                    "return [...document.querySelectorAll('#lines p')].map((e) => e.textContent)"
                )

            def look(name: str) -> None:
                driver.get(f"http://localhost:{reader.port}/?name={name}&key=sesame")
                wait_until(lambda: f"{name} is here" in lines(), f"{name} is here", PAGE_S)

            look("Cem")
            first = driver.current_window_handle
            driver.switch_to.new_window("window")
            look("Dee")
            driver.find_element("name", "line").send_keys("Hello, <b>Cem</b>\n")
            driver.switch_to.window(first)
            want = ["Cem is here", "Dee is here", "Dee: Hello, <b>Cem</b>"]
            wait_until(lambda: lines() == want, f"the lines are {want}", PAGE_S)
            assert [line for line in browser.console() if "favicon" not in line] == []


@pytest.mark.parametrize(
    ("said", "page", "same"),
    [
        ("a b", "a b", True),
        ("a b c", "a b", False),
        ("a b", "a b c", False),
        ("a b c", "a ... c", True),
        ("a c", "a ... c", True),
        ("a b", "...", True),
        ("a b", "... c", False),
    ],
)
def test_a_page_may_leave_out_lines_where_it_says_so(said, page, same):
    assert matches(said.split(), page.split()) == same


def test_a_page_is_read_in_its_order():
    kinds = [step.kind for step in steps(PAGE.read_text())]
    assert kinds[0] == "host" and {"file", "run", "host", "stop", "log"} <= set(kinds)
