"""Takes the pictures in docs/screenshots of a running ``scripts/demo``: call scripts/pictures."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import FLAGS, find_chromium
from tests.e2e.tour import Tourist

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "screenshots"
#: Which pages are shown as they are, by the name of their picture.
PAGES = {"integrations": "integrations/", "events": "events/", "requests": "requests/", "keys": "keys/"}
CUSTOMERS = ("ada", "grace", "edsger", "barbara", "donald", "frances", "tony", "niklaus")


class Demonstration:
    """The running demonstration, and what its scripts keep about it."""

    def __init__(self, url: str) -> None:
        kept = json.loads((ROOT / ".demo" / "kept.json").read_text())
        self.url = url
        self._endpoints: dict[str, str] = kept["endpoints"]
        self._api_key: str = kept["api_key"]

    def bearer(self, api_key: str = "") -> dict[str, str]:
        answer = self._ask("POST", "incoming/auth/token", json={"apiKey": api_key or self._api_key})
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def furnish(self) -> str:
        """Post what makes the pages lively; return the id of an order's event that has run."""
        form = json.loads((ROOT / "dags_examples" / "form_answer.json").read_text())
        for customer in CUSTOMERS:
            form["form_response"]["token"] = secrets.token_hex(8)
            form["form_response"]["answers"][0]["email"] = f"{customer}@example.com"
            self._post("form", form)
        self._post("form", form)
        order: dict[str, Any] = {}
        for number, customer in enumerate(CUSTOMERS):
            order = {
                "order": {"id": f"A-{4711 + number}", "total": 49.9 + number, "items": [{"sku": "A-7"}]},
                "customer": {"email": f"{customer}@example.com", "newsletter": number % 2 == 0},
            }
            headers = {**self.bearer(), "X-Request-Id": secrets.token_hex(4)}
            event_id = self._post("orders", order, headers).json()["event_id"]
        self._post("orders", order)
        self._post("orders", b'{"order": NaN}', self.bearer())
        token = self._ask("POST", "auth/token", json={"username": "admin", "password": "admin"}).json()
        api = {"Authorization": f"Bearer {token['access_token']}"}
        path = f"api/v2/dags/process_order/dagRuns/incoming__orders__{event_id}"
        end = time.monotonic() + 180
        while self._ask("GET", path, headers=api).json().get("state") != "success":
            assert time.monotonic() < end, "the order's run takes too long"
            time.sleep(1)
        return str(event_id)

    def _post(self, name: str, payload: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        return self._ask("POST", f"incoming/{self._endpoints[name]}", content=content, headers=headers)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, f"{self.url}/{path}", timeout=30, **options)


class Photographer:
    """Signs in as the demonstration's administrator and takes each picture light and dark."""

    def __init__(self, browser: Browser, demonstration: Demonstration) -> None:
        self._demonstration = demonstration
        self._me = Tourist(browser, demonstration.url, "admin")
        self._me.sign_in()

    @property
    def _page(self) -> Page:
        return self._me.page

    def take(self, name: str) -> None:
        for theme in ("dark", "light"):
            self._page.evaluate(
                "theme => { localStorage.setItem('theme', theme); const of = document.documentElement;"
                "of.classList.remove('light', 'dark'); of.classList.add(theme);"
                "of.style.colorScheme = theme; }",
                theme,
            )
            self._page.wait_for_timeout(500)
            self._page.screenshot(path=FOLDER / f"{name}-{theme}.png")

    def make_an_integration(self) -> None:
        """Take the pictures of the way from the dialog to the workflow, and keep nothing of it."""
        me, mark = self._me, secrets.token_hex(2)
        me.open("integrations/")
        me.button("New integration").click()
        dialog = me.frame.get_by_role("dialog")
        dialog.get_by_text("With JWT authentication").click()
        dialog.get_by_label("Title").fill("Payments")
        dialog.locator("#new-name").fill(f"payments-{mark}")
        dialog.get_by_label("A new API key").check()
        dialog.get_by_label("Name of the new key").fill(f"bank-{mark}")
        self.take("new-integration")
        me.button("Create", dialog).click()
        key = dialog.locator(".secret code").inner_text()
        dialog.get_by_role("link", name="Continue to the editor").click()
        url = me.frame.locator("#endpoint-url").inner_text()
        self._retrieve(url, self._demonstration.bearer(key))
        self._choose()
        me.button("Save & publish").click()
        expect(me.frame.get_by_text("Published: the endpoint accepts requests.")).to_be_visible()
        self.take("editor")
        me.open(f"integrations/payments-{mark}/versions")
        expect(me.heading(re.compile("Versions of"))).to_be_visible()
        self.take("versions")
        self._delete(f"payments-{mark}", f"bank-{mark}")

    def look(self, event_id: str) -> None:
        """Take the pictures of the pages that show what happened, and of the tabs in Airflow's own."""
        for name, path in PAGES.items():
            self._me.open(path)
            expect(self._me.frame.get_by_role("row").nth(1)).to_be_visible()
            self.take(name)
        self._me.open(f"events/{event_id}")
        expect(self._me.frame.get_by_text("order.items.0.sku").first).to_be_visible()
        self.take("event")
        dag = f"{self._demonstration.url}/dags/process_order"
        tabs = {
            "dag-run": f"{dag}/runs/incoming__orders__{event_id}/plugin/incoming-run",
            "dag": f"{dag}/plugin/incoming-dag",
        }
        for name, address in tabs.items():
            self._page.goto(address)
            expect(self._me.frame.get_by_role("row").nth(1)).to_be_visible()
            self.take(name)

    def _retrieve(self, url: str, sender: dict[str, str]) -> None:
        section = self._me.define("data")
        self._me.button("Retrieve data", section).click()
        expect(section.get_by_text("Listening. Send a request now.")).to_be_visible()
        self.take("retrieve-data")
        payment = {
            "payment": {"id": "P-1", "settled": True, "fees": None},
            "order": {"id": "A-4711", "total": 49.9},
        }
        end = time.monotonic() + 20
        while httpx.post(url, json=payment, headers={**sender, "X-Request-Id": "r-1"}).status_code != 200:
            assert time.monotonic() < end, "nobody listens"
            time.sleep(0.3)
        expect(section.get_by_text("A request came", exact=True)).to_be_visible()
        self.take("retrieved")
        self._me.apply("data")

    def _choose(self) -> None:
        section = self._me.define("deduplication")
        section.get_by_text("A request whose parameters were sent before starts nothing.").click()
        for name in ("body.payment.id", "header.x-request-id"):
            section.get_by_label(name, exact=True).check()
        expect(section.get_by_text("2 of 5")).to_be_visible()
        self.take("deduplication")
        self._me.apply("deduplication")
        section = self._me.define("workflow")
        section.get_by_placeholder("Search by id or name").fill("order")
        section.get_by_role("button", name="Add process_order").click()
        expect(section.get_by_role("button", name="Take process_order away")).to_be_visible()
        self.take("workflow")
        self._me.apply("workflow")

    def _delete(self, integration: str, key: str) -> None:
        base = f"{self._demonstration.url}/pluginsv2/incoming-ui"
        token = self._page.request.get(f"{base}/csrf").json()["csrf_token"]
        for kind, name, verb in (("integrations", integration, "delete"), ("keys", key, "revoke")):
            answer = self._page.request.post(
                f"{base}/{kind}/{name}/{verb}", headers={"X-CSRFToken": token}, form={"confirm": name}
            )
            assert answer.ok, answer.text()


def main() -> None:
    """Take all pictures of the demonstration at the given address."""
    address = urlsplit(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
    demonstration = Demonstration(f"{address.scheme}://{address.netloc}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        photographer = Photographer(browser, demonstration)
        event_id = demonstration.furnish()
        photographer.make_an_integration()
        photographer.look(event_id)
        browser.close()


if __name__ == "__main__":
    main()
