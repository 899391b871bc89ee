"""Drives headless Chromium over its debugging pipe: keys, pictures at any width, requests, print.

Debian's or any other Chromium does; nothing is installed for it. A page is a file of its own, as
a reader would open it.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
MISSING = "no Chromium is installed: apt-get install chromium"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)  # fmt: skip
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37,
        "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # fmt: skip


class Chromium:
    """A browser; each page that it opens is fresh."""

    def __init__(self, profile, timeout=60):
        assert CHROMIUM is not None, MISSING
        self.timeout, self.buffer, self.sent = timeout, b"", 0
        self.events = []
        read, self.out = os.pipe()
        self.into, write = os.pipe()
        # Away from 3 and 4, which are what Chromium reads and writes.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (read, write)]

        def connect():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(3, 4), preexec_fn=connect,  # noqa: PLW1509
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (read, write, *theirs):
            os.close(fd)

    def close(self):
        try:
            self.call("Browser.close")
        except (OSError, TimeoutError):
            self.process.kill()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)

    def call(self, method, session=None, **given):
        """One command and its answer; events that come between are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": given}
        if session is not None:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            got = self._next(self.timeout)
            if got is None:
                raise TimeoutError(method)
            if got.get("id") == self.sent:
                if "error" in got:
                    raise RuntimeError(f"{method}: {got['error']['message']}")
                return got["result"]

    def _next(self, seconds):
        """The next message; events are kept. None when nothing comes."""
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.into], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self.into, 1 << 20)
            if not piece:
                raise OSError("Chromium has ended")
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\0")
        got = json.loads(line)
        if "method" in got:
            self.events.append(got)
        return got

    def open(self, file, *, width=1280, height=900, scheme="light", media="", script=True):
        """A page at a width, in a colour scheme, as ``print`` or not, with scripts or without."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": scheme}])  # fmt: skip
        page.resize(width, height)
        if not script:
            page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.start = len(self.events)
        page.call("Page.navigate", url=Path(file).resolve().as_uri())
        while not page.seen("Page.loadEventFired"):
            if self._next(self.timeout) is None:
                raise TimeoutError(f"{file} does not load")
        if not script:
            page.call("Emulation.setScriptExecutionDisabled", value=False)
        return page


class Page:
    """An open page."""

    def __init__(self, browser, target, session):
        self.browser, self.target, self.session, self.start = browser, target, session, 0

    def call(self, method, **given):
        return self.browser.call(method, self.session, **given)

    def seen(self, method):
        """The events of a kind since the page was opened."""
        held = self.browser.events[self.start :]
        return [e["params"] for e in held
                if e["method"] == method and e.get("sessionId") == self.session]  # fmt: skip

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 500)  # fmt: skip

    def evaluate(self, script):
        """The value of an expression, awaited; the page's own policy does not hold for it."""
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                        awaitPromise=True, userGesture=True)  # fmt: skip
        if "exceptionDetails" in got:
            raise RuntimeError(got["exceptionDetails"].get("exception", {}).get("description"))
        return got["result"].get("value")

    def press(self, *keys):
        for key in keys:
            code = KEYS[key]
            text = {"Enter": "\r", " ": " "}.get(key, "")
            common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def move(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x, y):
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def allow(self, *permissions):
        """What the page may do from now on, such as ``clipboardReadWrite``, and nothing else."""
        self.browser.call("Browser.resetPermissions")
        if permissions:
            self.browser.call("Browser.grantPermissions", permissions=list(permissions))

    def requests(self):
        """Everything asked for but the page itself."""
        asked = [e["request"]["url"] for e in self.seen("Network.requestWillBeSent")]
        return asked[1:]

    def picture(self, file, clip=None):
        """A PNG of the window, or of a part of the page."""
        part = {} if clip is None else {"clip": clip, "captureBeyondViewport": True}
        got = self.call("Page.captureScreenshot", **part)
        Path(file).write_bytes(base64.b64decode(got["data"]))

    def pdf(self, file):
        got = self.call("Page.printToPDF", printBackground=False)
        Path(file).write_bytes(base64.b64decode(got["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
