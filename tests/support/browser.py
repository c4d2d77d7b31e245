"""Chromium by Selenium, and the chat page in it."""

import base64
import shutil
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from support.host import ROOT, Failed, wait_until

SCREENSHOTS = ROOT / "build/screenshots"
PAGE_S = 20  # for anything on a page

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
    " --disable-dev-shm-usage --window-size=1280,900"
).split()


class Browser:
    """A browser of its own, with a profile that is gone afterwards.

    @param flags  more of Chromium's
    """

    def __init__(self, *flags: str):
        chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if not chromium or not driver:
            raise Failed("no chromium or chromedriver here: tools/setup test installs them")
        self._profile = tempfile.TemporaryDirectory(prefix="perigee-browser-")
        options = ChromeOptions()
        options.binary_location = chromium
        for flag in [*FLAGS, *flags, f"--user-data-dir={self._profile.name}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(PAGE_S)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.driver.quit()
        self._profile.cleanup()

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """The size of the page itself, with a finger instead of a mouse on a phone."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})

    def prefer(self, scheme: str) -> None:
        """Pages in "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def close_tab(self) -> None:
        """Closes the page, with a new tab in its place."""
        old = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        new = self.driver.current_window_handle
        self.driver.switch_to.window(old)
        self.driver.close()
        self.driver.switch_to.window(new)

    def console(self) -> list[str]:
        """What the console has shown since the last call, from warnings upwards."""
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self.driver.get_log("browser")
            if entry["level"] in ("WARNING", "SEVERE")
        ]

    def screenshot(self, name: str, folder: Path = SCREENSHOTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))
        return path


class ChatPage:
    """The chat page as a person sees it."""

    def __init__(self, browser: Browser, address: str):
        self.browser, self.driver = browser, browser.driver
        self.driver.get(address)
        self.wait_for_state("online")

    def find(self, selector: str):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The text of each element, hidden ones included."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return self.driver.execute_script(script, selector)

    def state(self) -> str:
        return self.find("body").get_attribute("data-state")

    def wait_for_state(self, state: str) -> None:
        wait_until(lambda: self.state() == state, f"the page is {state}", PAGE_S)

    def name(self) -> str:
        return self.find("#me").text

    def people(self) -> list[str]:
        return self.texts("#people-list li bdi")

    def say(self, text: str) -> None:
        line = self.find("#line")
        line.send_keys(text)
        line.send_keys(Keys.ENTER)

    def say_at_once(self, lines: list[str]) -> None:
        """All in one step of the page, however slow the machine is."""
        script = """
            const line = document.querySelector("#line");
            for (const text of arguments[0]) {
              line.value = text;
              document.querySelector("#composer").requestSubmit();
            }
        """
        self.driver.execute_script(script, lines)

    def messages(self) -> list[tuple[str, str]]:
        """(who, what), in order."""
        script = (
            "return [...document.querySelectorAll('.message')].map((e) =>"
            " ['.name', '.text'].map((part) => e.querySelector(part).textContent))"
        )
        return [(who, what) for who, what in self.driver.execute_script(script)]

    def wait_for_message(self, who: str, text: str) -> None:
        def there():
            return (who, text) in self.messages()

        wait_until(there, f"{who}: {text!r} among {self.messages()}", PAGE_S)

    def wait_for_note(self, part: str) -> None:
        def there():
            return any(part in note for note in self.texts(".note"))

        wait_until(there, f"a note with {part!r}", PAGE_S)

    def wait_for_people(self, names: list[str]) -> None:
        wait_until(lambda: self.people() == names, f"the people are {names}", PAGE_S)

    def rename(self, name: str) -> None:
        """By the page's own dialog."""
        self.find("#place").click()
        field = self.find("#settings-name")
        field.clear()
        field.send_keys(name)
        self.find("#settings-form button[type=submit]").click()
        wait_until(lambda: self.name() == name, f"the name is {name}", PAGE_S)
