"""A headless Chromium, told what to do through the DevTools protocol over a pipe: no other package is needed.

https://chromedevtools.github.io/devtools-protocol/ ; each message is JSON and ends with a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import cast

Json = dict[str, object]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0


def find() -> str | None:
    """Return the browser of this machine, or the one that CHROMIUM names."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser of its own; what it complains about is kept."""

    def __init__(self, program: str, profile: Path) -> None:
        self.complaints: list[str] = []
        """Errors and warnings on the console, exceptions, and what could not be loaded."""
        self.requests: list[str] = []
        """Addresses that the page asked for, but for those that hold their content."""
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        shell = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                shell,
                "bash",
                program,
                *options,
                "--mute-audio",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._count, self._session = b"", 0, ""
        self._seen: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Json:
        """Return the answer to a command."""
        self._count += 1
        message: Json = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return cast("Json", answer["result"])
            self._note(answer)

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a file and wait until all of it is there."""
        self.complaints.clear()
        self.requests.clear()
        self._seen.clear()
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._note(self._receive())

    def resize(self, width: int, height: int) -> None:
        """Give the page this many CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def evaluate(self, expression: str) -> object:
        """Return what a JavaScript expression gives, a promise's value included."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return cast("Mapping[str, object]", answer["result"]).get("value")

    def wait_for(self, expression: str) -> bool:
        """Return whether an expression becomes true within the time there is."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            if self.evaluate(expression):
                return True
            time.sleep(0.1)
        return False

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Write the page as a PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(str(picture["data"])))

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(str(self.call("Page.printToPDF")["data"]))

    def close(self) -> None:
        """End the browser."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self) -> Json:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, "The browser does not answer."
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "The browser has ended."
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return cast("Json", json.loads(message))

    def _note(self, event: Json) -> None:
        method, parameters = str(event.get("method", "")), cast("Json", event.get("params", {}))
        self._seen.append(method)
        said = method in (
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Runtime.exceptionThrown",
            "Network.loadingFailed",
        )
        if said:
            self.complaints.append(json.dumps(parameters)[:500])
        if method == "Network.requestWillBeSent":
            url = str(cast("Json", parameters["request"])["url"])
            if not url.startswith("data:"):
                self.requests.append(url)
