"""client/perigee.js: how the host serves it, and what it does in Chromium against a host that is
killed, stopped and restarted."""

import json
import signal

import pytest

from support.browser import PAGE_S, Browser
from support.host import ROOT, Host, wait_until

CLIENT = ROOT / "client/perigee.js"

ECHO = """
local ws = require "ws"
local echo = {}
function echo.upgrade(req)
  if req.query.key == "wrong" then ws.reject(401, "no") end
end
function echo.open(conn, req)
  conn:send { hello = req.query.name or "nobody" }
end
function echo.message(conn, text, kind)
  local order = ws.json.decode(text)
  if type(order) ~= "table" or not order.close then
    return conn:send(text, kind)
  end
  conn:close(order.close, order.reason)
end
return echo
"""

NEVER = "{ firstDelay: 3600000, longestDelay: 3600000 }"  # a try again within the test

# Notes all events as [name, detail]. URL and OPTIONS are JavaScript.
START = """
const done = arguments[0];
import("./perigee.js").then(({ connect }) => {
  window.connect = connect;
  window.events = [];
  window.note = (link) => {
    for (const name of ["state", "open", "message", "raw", "close"]) {
      link.on(name, (detail) => events.push([name, detail]));
    }
    return link;
  };
  window.link = note(connect(URL, OPTIONS));
  done();
});
"""


# As the host serves it


def test_it_is_served_like_a_file(serve):
    host = serve({"x.lua": "return {}"})
    answer = host.get("/perigee.js")
    assert answer.status == 200
    assert answer.body == CLIENT.read_bytes()
    assert answer["content-type"] == "text/javascript; charset=utf-8"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["cache-control"] == "no-cache"
    head = host.get("/perigee.js", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head["content-length"] == str(len(answer.body))
    assert head["etag"] == answer["etag"]


def test_it_is_not_sent_again_to_who_has_it(serve):
    host = serve({"x.lua": "return {}"})
    tag = host.get("/perigee.js")["etag"]
    assert tag.startswith('"')
    with host.wire() as wire:
        again = wire.request("/perigee.js", If_None_Match=f'"x", {tag}')
        assert (again.status, again.body, again["etag"]) == (304, b"", tag)
        assert wire.request("/perigee.js", If_None_Match='"x"').status == 200
        assert wire.request("/perigee.js", If_Match='"x"').status == 412
        # It has no date that one could ask by.
        date = "Thu, 01 Jan 2099 00:00:00 GMT"
        assert wire.request("/perigee.js", If_Modified_Since=date).status == 200


def test_its_package_is_of_the_hosts_version(run):
    package = json.loads((ROOT / "client/package.json").read_text())
    assert run("--version")[1] == f"perigee {package['version']}\n"
    assert (ROOT / "client" / package["main"]).read_bytes() == CLIENT.read_bytes()


def test_it_can_only_be_read(serve):
    answer = serve({"x.lua": "return {}"}).get("/perigee.js", "POST")
    assert (answer.status, answer["allow"]) == (405, "GET, HEAD")


def test_a_file_of_that_name_and_a_script_on_that_route_go_first(serve):
    host = serve(
        {
            "x.lua": 'return { route = "/perigee.js", request = function(req)'
            ' if req.query.mine then return 200, "the script" end end }',
            "public/perigee.js": "the file",
        }
    )
    assert host.get("/perigee.js?mine=1").body == b"the script"
    assert host.get("/perigee.js").body == b"the file"


def test_a_script_on_that_route_without_an_answer_leaves_it_to_the_client(serve):
    host = serve({"x.lua": 'return { route = "/perigee.js", request = function() end }'})
    assert host.get("/perigee.js").body == CLIENT.read_bytes()


# In a browser


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture
def site(tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "echo.lua").write_text(ECHO)
    (tmp_path / "public/index.html").write_text("<!doctype html><title>a page</title>")
    return tmp_path


@pytest.fixture
def host(site):
    with Host(site) as host:
        yield host
        host.signal(signal.SIGTERM)
        host.stop()


class Page:
    """A page with one connection, `window.link`."""

    def __init__(self, browser, host):
        self.driver = browser.driver
        self.driver.get(host.http)

    def js(self, code: str, *arguments):
        return self.driver.execute_script(code, *arguments)

    def start(self, url: str = "'echo'", options: str = "{}") -> None:
        script = START.replace("URL", url).replace("OPTIONS", options)
        self.driver.execute_async_script(script)

    def events(self, name: str) -> list:
        found = self.js("return events.filter(([name]) => name === arguments[0])", name)
        return [detail for _, detail in found]

    def wait_for(self, code: str):
        return wait_until(lambda: self.js(f"return {code}"), code, PAGE_S)

    def wait_for_event(self, name: str, times: int = 1) -> list:
        wait_until(lambda: len(self.events(name)) >= times, f"{times} {name}", PAGE_S)
        return self.events(name)


@pytest.fixture
def page(browser, host):
    yield Page(browser, host)
    browser.console()
    browser.close_tab()


def test_json_goes_out_and_comes_in(page):
    page.start("'echo?name=Ann'")
    page.wait_for_event("message")
    for value in ({"a": [1, None, "ü"]}, "text", 5, None):
        assert page.js("return link.send(arguments[0])", value) is True
    wanted = [{"hello": "Ann"}, {"a": [1, None, "ü"]}, "text", 5, None]
    assert page.wait_for_event("message", 5) == wanted
    assert page.js("return link.state") == "open"
    assert page.events("state") == ["open"]


def test_what_is_no_json_arrives_raw(page):
    page.start()
    page.wait_for_event("open")
    page.js("link.sendRaw('not {json'); link.send(new Uint8Array([0, 255]))")
    page.wait_for_event("raw", 2)
    text, size = page.js(
        "const raw = events.filter(([name]) => name === 'raw').map(([, detail]) => detail);"
        "return [raw[0], new Uint8Array(raw[1]).join()]"
    )
    assert (text, size) == ("not {json", "0,255")


def test_without_json_everything_arrives_raw(page):
    page.start(options="{ json: false }")
    assert page.wait_for_event("raw") == ['{"hello":"nobody"}']
    assert page.events("message") == []


def test_what_cannot_be_json_raises(page):
    page.start()
    page.wait_for_event("open")
    error = page.js("try { link.send(undefined) } catch (error) { return error.message }")
    assert error == "send: this value can't be JSON"


def test_it_comes_back_after_the_host_was_killed_and_restarted(browser, site):
    with Host(site) as host:
        port = host.port
        page = Page(browser, host)
        page.start(options="{ firstDelay: 50, longestDelay: 200 }")
        page.wait_for_event("message")
        host.kill()
    page.wait_for_event("close", 3)  # the connection, and tries that failed
    first, second = page.events("close")[:2]
    assert (first["code"], first["opened"]) == (1006, True)
    assert second["opened"] is False and second["tries"] == first["tries"] + 1
    assert page.js("return link.send('lost')") is False
    with Host(site, port=port):
        page.wait_for_event("message", 2)
        assert page.js("return link.state") == "open"
    states = page.events("state")
    assert states[:4] == ["open", "waiting", "connecting", "waiting"] and "open" in states[4:]
    browser.close_tab()


def test_waits_double_up_to_the_longest_and_are_drawn_from_all_of_the_range(browser, site):
    with Host(site) as host:
        page = Page(browser, host)
        page.start(options="{ firstDelay: 20, longestDelay: 100 }")
        page.wait_for_event("open")
        # What was asked of setTimeout is looked at, not how long it took.
        page.js(
            "window.waits = []; const original = window.setTimeout;"
            "Math.random = () => 0.999; window.setTimeout = (fn, ms, ...rest) => {"
            " if (ms < 1000) waits.push(Math.round(ms)); return original(fn, ms, ...rest); }"
        )
        host.kill()
    page.wait_for("waits.length >= 5")
    assert page.js("return waits.slice(0, 5)") == [20, 40, 80, 100, 100]
    page.js("Math.random = () => 0")
    page.wait_for("waits.at(-1) === 0")
    browser.close_tab()


def test_a_wait_ends_at_once_when_the_network_is_back_or_the_page_is_seen(browser, site):
    with Host(site) as host:
        port = host.port
        page = Page(browser, host)
        page.start(options=NEVER)
        page.wait_for_event("open")
        page.js("Math.random = () => 0.5")
        host.kill()
    page.wait_for("link.state === 'waiting'")
    assert page.js("return link.retryAt - Date.now() > 60000")
    with Host(site, port=port) as host:
        page.js("window.dispatchEvent(new Event('online'))")
        page.wait_for_event("open", 2)
        host.kill()
    page.wait_for("link.state === 'waiting'")
    with Host(site, port=port) as host:
        page.js("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_event("open", 3)
        host.kill()
    page.wait_for("link.state === 'waiting'")
    with Host(site, port=port):
        page.js("link.retryNow()")
        page.wait_for_event("open", 4)
    browser.close_tab()


def test_a_dead_link_is_noticed_by_a_probe_and_replaced(page, host):
    page.start(
        options="{ watchdog: { silence: 200, probe: 'ping', answer: 3000 }, firstDelay: 50 }"
    )
    # As long as the script answers, the link stays.
    wait_until(lambda: page.events("message").count("ping") >= 3, "probes are answered", PAGE_S)
    assert page.events("close") == []
    with host.stopped():  # the host is there and says nothing: what a dead link looks like
        (end, *_) = page.wait_for_event("close")
    assert end == {"code": 1006, "reason": "the link is dead", "opened": True, "tries": 1}
    page.wait_for_event("open", 2)


def test_without_a_watchdog_silence_is_nothing(page, host):
    page.start()
    page.wait_for_event("message")
    page.js("window.dispatchEvent(new Event('offline'))")
    page.js("window.dispatchEvent(new Event('online'))")
    page.js("link.send('still here')")
    assert page.wait_for_event("message", 2)[1] == "still here"
    assert page.events("close") == []


def test_a_try_that_gets_no_answer_ends(page, host):
    page.start()
    page.wait_for_event("message")
    page.js("link.close()")
    page.wait_for_event("close")
    with host.stopped():
        page.js("events.length = 0; note(connect('echo', { openTimeout: 100, firstDelay: 1 }))")
        first, second, *_ = page.wait_for_event("close", 2)
    reason = "the host does not answer"
    assert first == {"code": 1006, "reason": reason, "opened": False, "tries": 1}
    assert second["tries"] == 2


def test_by_default_nothing_waits_to_be_sent(page):
    page.start("'echo?key=wrong'", NEVER)
    page.wait_for_event("close")
    assert page.js("return link.send('x')") is False


def test_a_queue_keeps_what_fits_and_sends_it_in_order(page):
    page.js("window.key = 'wrong'")
    page.start("() => `echo?key=${key}`", "{ queue: 2, firstDelay: 3600000 }")
    page.wait_for_event("close")
    assert page.js("return [link.send(1), link.send(2), link.send(3)]") == [True, True, False]
    page.js("window.key = 'right'; link.on('open', () => link.send('first')); link.retryNow()")
    assert page.wait_for_event("message", 4) == [{"hello": "nobody"}, "first", 1, 2]


def test_a_close_is_clean_and_final(page, host):
    page.start()
    page.wait_for_event("message")
    page.js("link.close(3001, 'bye')")
    assert page.js("return link.state") == "closed"
    (end,) = page.wait_for_event("close")
    assert end["code"] == 3001  # the host says it back
    assert page.js("return link.send('x')") is False
    page.js("link.retryNow(); window.dispatchEvent(new Event('online')); link.close()")
    assert page.js("return link.state") == "closed"
    assert page.events("state") == ["open", "closed"]


def test_a_close_while_waiting_ends_the_tries(page):
    page.start("'echo?key=wrong'", "{ firstDelay: 1, longestDelay: 10 }")
    page.wait_for_event("close", 2)
    page.js("link.close()")
    assert page.js("return [link.state, link.retryAt]") == ["closed", 0]
    assert page.js("return events.at(-1)[0]") == "close"


@pytest.mark.parametrize("code, again", [(1000, False), (1008, False), (4000, False), (1013, True)])
def test_an_end_that_the_script_meant_is_final(page, code, again):
    page.start(options="{ firstDelay: 1 }")
    page.wait_for_event("message")
    page.js("link.send({ close: arguments[0], reason: 'so' })", code)
    (end, *_) = page.wait_for_event("close")
    assert (end["code"], end["reason"], end["opened"]) == (code, "so", True)
    if again:
        page.wait_for_event("open", 2)
    else:
        assert page.js("return link.state") == "closed"


def test_retry_decides_instead(page):
    page.start("'echo?key=wrong'", "{ firstDelay: 1, retry: ({ tries }) => tries < 3 }")
    page.wait_for("link.state === 'closed'")
    assert [end["tries"] for end in page.events("close")] == [1, 2, 3]


def test_an_address_by_a_function_is_asked_each_time(page):
    page.js("window.count = 0")
    page.start("() => `echo?name=${window.count += 1}`", "{ firstDelay: 1 }")
    (first, *_) = page.wait_for_event("message")
    page.js("link.send({ close: 1013 })")
    second = page.wait_for_event("message", 2)[1]
    assert int(first["hello"]) < int(second["hello"])


def test_an_address_that_cannot_be_one_raises_at_once(page):
    page.start()
    error = page.js("try { connect('http://[') } catch (error) { return error.name }")
    assert error == "TypeError"


def test_who_goes_to_another_page_leaves_and_is_back_with_it(page):
    page.start()
    page.wait_for_event("message")
    # What the browser tells a page that it keeps; whether it keeps one is up to the browser.
    page.js("window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    page.wait_for_event("close")
    page.js("window.dispatchEvent(new Event('online'))")  # nobody is there to see it
    assert page.js("return link.state") == "waiting"
    page.js("window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.wait_for_event("open", 2)
