"""A person at a browser: signs in to a real Airflow and works with the pages inside its own frame."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

from tests.house import House

WIDTH, HEIGHT = 1280, 860
#: Milliseconds that something may take to appear on a busy machine.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


class Tourist:
    """One user of the Airflow at ``url``. ``complaints`` are errors that the browser met on the way."""

    def __init__(self, browser: Browser, url: str, user: str) -> None:
        self.url = url
        self.user = user
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC")
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("response", lambda response: self._see(response.status, response.url))

    @property
    def frame(self) -> FrameLocator:
        """What is inside Airflow's frame."""
        return self.page.frame_locator("iframe[title=Incoming]")

    def sign_in(self) -> None:
        self.page.goto(self.url)
        self.page.locator("input[name=username]").fill(self.user)
        self.page.locator("input[name=password]").fill(self.user)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(re.compile(re.escape(self.url) + r"/(\?.*)?$"))
        self.complaints.clear()  # the page to sign in isn't ours

    def open(self, path: str) -> None:
        """Open one of our pages by the address that Airflow shows for it."""
        self.page.goto(f"{self.url}/plugin/incoming/pluginsv2/incoming-ui/{path}")

    def heading(self, text: str | re.Pattern[str]) -> Locator:
        return self.frame.get_by_role("heading", level=1, name=text)

    def button(self, name: str, within: Locator | None = None) -> Locator:
        return (within or self.frame).get_by_role("button", name=name, exact=True)

    def section(self, name: str) -> Locator:
        return self.frame.locator(f"#section-{name}")

    def define(self, section: str) -> Locator:
        """Open a section of the editor."""
        self.button("Define", self.section(section)).click()
        expect(self.section(section)).to_have_class(re.compile("is-open"))
        return self.section(section)

    def apply(self, section: str) -> None:
        """Close a section with what was defined."""
        self.button("Apply", self.section(section)).click()
        expect(self.button("Define", self.section(section))).to_be_visible()

    def _hear(self, kind: str, text: str) -> None:
        # Airflow's own interface asks before it is signed in, and its frame warns of itself.
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(text)

    def _see(self, status: int, url: str) -> None:
        if status >= 500 and "incoming" in url:
            self.complaints.append(f"{status} {url}")


def bearer(house: House, api_key: str) -> dict[str, str]:
    """Return the header of a sender that has an API key."""
    answer = httpx.post(f"{house.receive[0]}/auth/token", json={"apiKey": api_key}, timeout=30)
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['token']}"}
