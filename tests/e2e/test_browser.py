"""The chat page in Chromium: people talk, come, go, and come back. Screenshots of it are left in
build/screenshots."""

import pytest
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.keys import Keys

from support.browser import Browser, ChatPage
from support.host import Host, wait_until

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@pytest.fixture(scope="module")
def browsers():
    """Two that know nothing of each other."""
    with Browser() as one, Browser() as two:
        yield one, two


@pytest.fixture
def host():
    with Host() as host:
        yield host
        assert host.stop() == 0


@pytest.fixture
def pages(browsers, host):
    """Two pages in one room. Whatever a console has to say fails the test."""
    for browser in browsers:
        browser.resize(*SIZES["desktop"])
        browser.console()
    yield [ChatPage(browser, f"{host.http}/#tea") for browser in browsers]
    said = [line for browser in browsers for line in browser.console()]
    for browser in browsers:
        browser.close_tab()
    assert said == []


def test_two_pages_chat_with_each_other(pages):
    ann, bo = pages
    ann.rename("Ann")
    bo.rename("Bo")
    ann.say("Is anybody here?")
    bo.wait_for_message("Ann", "Is anybody here?")
    bo.say("Me. Two lines?")
    bo.say("Here is the other one.")
    ann.wait_for_message("Bo", "Here is the other one.")
    ann.say("/me waves")
    bo.wait_for_note("Ann waves")
    ann.wait_for_note("Ann waves")

    talk = [
        ("Ann", "Is anybody here?"),
        ("Bo", "Me. Two lines?"),
        ("Bo", "Here is the other one."),
    ]
    assert ann.messages() == bo.messages() == talk
    assert ann.texts(".message.own .text") == ["Is anybody here?"]
    assert bo.texts(".message.own .text") == ["Me. Two lines?", "Here is the other one."]


def test_who_is_here_follows_those_who_come_go_and_change_their_name(pages):
    ann, bo = pages
    ann.wait_for_people(["guest", "guest-2"])
    ann.rename("Ann")
    bo.wait_for_people(["Ann", "guest-2"])
    bo.rename("Bo")
    for page in pages:
        page.wait_for_people(["Ann", "Bo"])
        assert page.texts("#people-count") == ["2"]
    bo.browser.close_tab()
    ann.wait_for_people(["Ann"])
    ann.wait_for_note("Bo left.")
    assert ann.texts("#people-count") == ["1"]


def test_who_goes_to_another_page_leaves_and_is_back_with_it(pages):
    ann, bo = pages
    ann.wait_for_people(["guest", "guest-2"])
    bo.driver.get("about:blank")
    ann.wait_for_note("guest-2 left.")
    bo.driver.back()
    bo.wait_for_state("online")
    ann.wait_for_people(["guest", "guest-2"])


def test_markup_in_names_and_texts_is_shown_as_typed_and_nothing_of_it_runs(pages):
    ann, bo = pages
    name = "<img src=x onerror=alert(1)>"
    text = '<img src=x onerror="window.ran=1"><script>window.ran=1</script>&amp;'
    ann.rename(name)
    ann.say(text)
    ann.say("/me " + text)
    for page in pages:
        page.wait_for_message(name, text)
        page.wait_for_note(f"{name} {text}")
        page.wait_for_people([name, "guest-2"])
        made = "return document.querySelectorAll('#log img, #log script, #people img, header img')"
        assert page.driver.execute_script(made) == []
        assert page.driver.execute_script("return window.ran") is None
        with pytest.raises(NoAlertPresentException):
            _ = page.driver.switch_to.alert
    assert ann.name() == name


def test_a_line_that_is_refused_comes_back_to_be_sent_again(pages):
    """One after the other they took so long on a busy machine that none was too fast."""
    ann, bo = pages
    said = [f"line-{i:02}" for i in range(12)]
    ann.say_at_once(said)

    def heard():
        return [text for _, text in ann.messages()]

    def back():
        return ann.find("#line").get_attribute("value").split()

    wait_until(lambda: len(heard() + back()) == len(said), "each line is shown or back")
    ann.wait_for_note("Not sent. Too fast")
    assert sorted(heard() + back()) == said
    assert heard()[:5] == said[:5]
    wait_until(lambda: bo.messages() == ann.messages(), "the other page has what was shown")


def test_another_room_is_entered_by_the_dialog_and_stands_in_the_address(pages):
    ann, bo = pages
    ann.rename("Ann")
    ann.find("#place").click()
    field = ann.find("#settings-room")
    field.clear()
    field.send_keys("next door", Keys.ENTER)
    ann.wait_for_note("You are in #next door as Ann.")
    bo.wait_for_note("Ann left.")
    assert ann.driver.current_url.endswith("#next%20door")
    ann.say("quiet here")
    ann.wait_for_message("Ann", "quiet here")
    assert bo.messages() == []


def test_the_page_comes_back_by_itself_after_the_host_was_restarted(browsers):
    browsers[0].resize(*SIZES["desktop"])
    with Host() as host:
        port = host.port
        pages = [ChatPage(browser, f"{host.http}/#tea") for browser in browsers]
        for page, name in zip(pages, ("Ann", "Bo"), strict=True):
            page.rename(name)
        pages[0].find("#line").send_keys("not sent yet")
        assert host.stop() == 0
    for page in pages:
        wait_until(lambda p=page: p.state() != "online", "the page notices")
    wait_until(lambda: pages[0].find("#notice").is_displayed(), "a notice is shown")
    assert pages[0].find("#line").get_attribute("value") == "not sent yet"
    browsers[0].screenshot("offline-desktop")

    with Host(port=port) as host:
        for page in pages:
            page.wait_for_state("online")
            page.wait_for_note("You are back, as ")
            assert not page.find("#notice").is_displayed()
        wait_until(lambda: sorted(pages[0].people()) == ["Ann", "Bo"], "both are there")
        pages[0].find("#line").send_keys(Keys.ENTER)
        pages[1].wait_for_message("Ann", "not sent yet")
        for browser in browsers:  # a browser reports each try that failed, and nothing else
            assert [
                line for line in browser.console() if "WebSocket connection to" not in line
            ] == []
            browser.close_tab()
        assert host.stop() == 0


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_its_window(pages, size):
    ann, bo = pages
    width, height = SIZES[size]
    ann.browser.resize(width, height, phone=size == "phone")
    ann.rename("Ann")
    bo.rename("Bo, who has a rather long name")
    bo.say("Hello from the other window.")
    bo.say("A word that never ends: " + "o" * 150)
    ann.wait_for_message("Bo, who has a rather long name", "Hello from the other window.")
    ann.say("It all fits, I hope.")
    ann.say("/me looks around")
    ann.wait_for_note("looks around")
    ann.browser.screenshot(f"chat-{size}")

    overflow = """return [document.documentElement, document.querySelector('#log')]
        .map((e) => e.scrollWidth - e.clientWidth)"""
    assert ann.driver.execute_script(overflow) == [0, 0]
    for selector in ("#place", "#status", "#line", "#send"):
        left, top, right, bottom = ann.driver.execute_script(
            "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [b.left, b.top, b.right, b.bottom]",
            selector,
        )
        assert 0 <= left < right <= width, selector
        assert 0 <= top < bottom <= height, selector

    if size == "phone":
        ann.find("#people-button").click()
        wait_until(lambda: ann.find("#people-list").is_displayed(), "who is here opens")
        ann.browser.screenshot("people-phone")
    assert ann.find("#people-list").is_displayed()
