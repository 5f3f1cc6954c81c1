"""/docs in headless Chromium: whole, quiet, and able to make calls.

Skips with a warning where there is no Chromium; `.ci/run` installs Debian's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

import contract
from service import Service

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")
WAIT_SECONDS = 20
DOCUMENT = contract.load()

if not (CHROMIUM and CHROMEDRIVER):
    warnings.warn("chromium or chromedriver is missing: the /docs page is NOT tested", stacklevel=1)
    pytest.skip("no chromium: the /docs page is NOT tested", allow_module_level=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1300,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Driver(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def wait_for(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], object]) -> object:
    return WebDriverWait(browser, WAIT_SECONDS).until(condition)


def open_page(browser: webdriver.Chrome, service: Service, fragment: str = "") -> None:
    # From another page, so that a changed fragment alone still loads it anew.
    browser.get("about:blank")
    drain_logs(browser)
    browser.get(f"{service.url}/docs{fragment}")
    wait_for(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "details.op, .failed"))


def drain_logs(browser: webdriver.Chrome) -> tuple[list[str], list[str]]:
    """Console messages, and addresses that were asked for, since the last time."""
    console = [entry["message"] for entry in browser.get_log("browser")]
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    return console, asked


def operation(browser: webdriver.Chrome, service: Service, name: str) -> WebElement:
    open_page(browser, service, f"#{name}")
    return wait_for(browser, lambda b: b.find_element(By.ID, name).find_element(By.TAG_NAME, "form"))


def fill(browser: webdriver.Chrome, form: WebElement, label: str, value: str) -> None:
    (field,) = [l for l in form.find_elements(By.TAG_NAME, "label") if l.text == label]
    control = browser.find_element(By.ID, field.get_attribute("for"))
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        control,
        value,
    )


def send(browser: webdriver.Chrome, form: WebElement) -> WebElement:
    browser.execute_script("arguments[0].click()", form.find_element(By.TAG_NAME, "button"))
    return wait_for(browser, lambda _: form.find_element(By.CSS_SELECTOR, ".answer"))


def test_page_shows_every_operation_and_asks_no_other_host(
    browser: webdriver.Chrome, service: Service
) -> None:
    open_page(browser, service)
    shown = {element.get_attribute("id") for element in browser.find_elements(By.CSS_SELECTOR, "details.op")}
    assert shown == {operation["operationId"] for _, _, operation in contract.operations(DOCUMENT)}
    console, asked = drain_logs(browser)
    assert console == []
    hosts = [url for url in asked if not url.startswith((service.url, "data:", "about:"))]
    assert hosts == []
    assert f"{service.url}/openapi.yaml" in asked


def test_every_operation_opens_without_an_error(browser: webdriver.Chrome, service: Service) -> None:
    open_page(browser, service)
    for details in browser.find_elements(By.CSS_SELECTOR, "details.op"):
        browser.execute_script("arguments[0].open = true", details)
    forms = wait_for(
        browser,
        lambda b: (found := b.find_elements(By.CSS_SELECTOR, "details.op form"))
        and len(found) == len(b.find_elements(By.CSS_SELECTOR, "details.op"))
        and found,
    )
    for form in forms:
        assert form.find_element(By.TAG_NAME, "pre").get_attribute("textContent").startswith("curl ")
    assert drain_logs(browser)[0] == []


def test_page_reads_the_document_as_yaml_means_it(browser: webdriver.Chrome, service: Service) -> None:
    """Its own reader of YAML against PyYAML."""
    open_page(browser, service)
    text = requests.get(f"{service.url}/openapi.yaml", timeout=10).text
    assert text == contract.PATH.read_text(encoding="utf-8")
    assert browser.execute_script("return readYaml(arguments[0])", text) == DOCUMENT


@pytest.mark.parametrize("text", ["a: &b 1", "a: >\n  folded", "a: [1", "a: b: c", "a: 1\n  b: 2", "a: 1\na: 2"])
def test_control_page_refuses_yaml_that_it_cannot_read(
    browser: webdriver.Chrome, service: Service, text: str
) -> None:
    open_page(browser, service)
    script = "try { readYaml(arguments[0]); return 'read'; } catch (error) { return error.message; }"
    assert "openapi.yaml line" in browser.execute_script(script, text)


def test_store_and_retrieve_by_hand(browser: webdriver.Chrome, service: Service) -> None:
    key = f"page/{uuid.uuid4()} ü&?.json"
    form = operation(browser, service, "storeProof")
    fill(browser, form, "key", key)
    fill(browser, form, "Body", '{"from": "the page"}')
    fill(browser, form, "If-None-Match", "*")
    assert send(browser, form).find_element(By.CSS_SELECTOR, ".status").text.startswith("201")

    encoded = requests.utils.quote(key, safe="/")
    stored = requests.get(f"{service.url}/v1/proofs/{encoded}", timeout=10)
    assert stored.json() == {"from": "the page"}
    assert "Cache-Control" not in stored.headers, "the browser's own must not be stored"

    form = operation(browser, service, "getProof")
    fill(browser, form, "key", key)
    fill(browser, form, "Range", "bytes=0-5")
    answer = send(browser, form)
    assert answer.find_element(By.CSS_SELECTOR, ".status").text.startswith("206")
    assert answer.find_element(By.CSS_SELECTOR, ".body").text == '{"from'
    assert drain_logs(browser)[0] == []


def test_shown_curl_line_does_the_same(browser: webdriver.Chrome, service: Service, tmp_path: Path) -> None:
    key = f"page/{uuid.uuid4()} it's.json"
    form = operation(browser, service, "storeProof")
    fill(browser, form, "key", key)
    fill(browser, form, "Body", "{\"quote\": \"it's\"}")
    line = form.find_element(By.TAG_NAME, "pre").text
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "201 Created" in done.stdout
    stored = requests.get(f"{service.url}/v1/proofs/{requests.utils.quote(key)}", timeout=10)
    assert stored.text == "{\"quote\": \"it's\"}"


def test_page_shows_a_problem(browser: webdriver.Chrome, service: Service) -> None:
    form = operation(browser, service, "getMetadata")
    fill(browser, form, "key", f"page/{uuid.uuid4()}")
    answer = send(browser, form)
    assert answer.find_element(By.CSS_SELECTOR, ".status.failed").text.startswith("404")
    assert "NOT_FOUND" in answer.text


def test_stored_html_cannot_run(browser: webdriver.Chrome, service: Service) -> None:
    """Its policy sandboxes it: the script does not change the title."""
    url = f"{service.url}/v1/proofs/page/{uuid.uuid4()}.html"
    html = "<title>before</title><script>document.title = 'after'</script>"
    assert requests.put(url, data=html, headers={"Content-Type": "text/html"}, timeout=10).ok
    browser.get(url)
    assert browser.title == "before"
    assert any("sandbox" in message for message in drain_logs(browser)[0]), "the browser says why"


def test_control_the_same_script_runs_without_the_policy(browser: webdriver.Chrome) -> None:
    browser.get("data:text/html,<title>before</title><script>document.title = 'after'</script>")
    assert browser.title == "after"
