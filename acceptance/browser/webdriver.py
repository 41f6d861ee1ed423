"""Browsers, driven as W3C WebDriver says: Chromium by its chromedriver, Firefox by geckodriver.

A `Browser` is one session of one driver: a browser with a profile of its own, which ends with the block. It opens pages, and a
WebSocket in them; which servers there are is its callers' business.
"""

import json
import pathlib
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE = 60  # seconds that anything may take; a busy machine is no failure
KINDS = ("chromium", "firefox")

# Opens a WebSocket, and says what became of it when it is closed.
SESSION = """
const [url, done] = arguments, events = [];
const session = new WebSocket(url);
session.onopen = () => { events.push("open"); session.send("hello"); };
session.onmessage = event => { events.push(event.data); session.close(1000); };
session.onerror = () => events.push("error");
session.onclose = event => done([...events, event.code].join(" "));
"""
WORKS, FAILS = "open hello 1000", "error 1006"


class DriverError(Exception):
    """The driver could not do what it was asked for."""


class Browser:
    """A headless browser of a kind, which takes any certificate; `address` is that of every host, if given."""

    def __init__(self, kind, address=None):
        self.capabilities = {"chromium": chromium, "firefox": firefox}[kind](address)
        self.command = {"chromium": ["chromedriver", "--port=0"], "firefox": ["geckodriver", "--port=0"]}[kind]

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="browser-")
        self.said = pathlib.Path(self.folder.name) / "driver.said"
        with self.said.open("wb") as output:
            self.driver = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            self.url = f"http://127.0.0.1:{self.port()}/session"
            wanted = {"acceptInsecureCerts": True, "timeouts": {"script": PATIENCE * 1000}, **self.capabilities}
            self.url += "/" + self.call("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *exception):
        try:
            self.call("DELETE", "")
        finally:
            self.end()

    def end(self):
        self.driver.terminate()
        self.driver.wait()
        self.folder.cleanup()

    def port(self):
        """Where the driver listens, of its own choice."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.driver.poll() is None:
            if found := re.search(r"(?:on port |127\.0\.0\.1:)([1-9]\d*)", self.said.read_text()):
                return found[1]
            time.sleep(0.02)
        raise DriverError(f"{self.command[0]} is not ready: {self.said.read_text()[-2000:]}")

    def call(self, method, path, body=None):
        """A command of the protocol; its value."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=2 * PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            said = json.load(error)["value"]
            raise DriverError(f"{path}: {said['error']}: {said['message']}") from None

    def open(self, url):
        """Goes to a page, and returns when it has been loaded."""
        self.call("POST", "/url", {"url": url})

    def websocket(self, url):
        """What a WebSocket of the page sees that says hello and closes when it is answered: WORKS, FAILS, or other events."""
        return self.call("POST", "/execute/async", {"script": SESSION, "args": [url]})


def chromium(address):
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    # Else the first, empty page would have to be allowed to go to loopback.
    words.append("--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets")
    if address:
        words.append(f"--host-resolver-rules=MAP * {address}")
    return {"browserName": "chrome", "goog:chromeOptions": {"args": words}}


def firefox(address):
    preferences = {"network.http.http2.websockets": True}
    if address:
        preferences["network.dns.forceResolve"] = address
    return {"browserName": "firefox", "moz:firefoxOptions": {"args": ["-headless"], "prefs": preferences}}
