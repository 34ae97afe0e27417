"""A page in headless Chromium that a test drives: clicks, keys, and what its script sees.

Chromium's DevTools protocol over the pair of pipes that --remote-debugging-pipe gives: JSON
messages, each ended by a zero byte, on the browser's file descriptors 3 and 4.
"""

import base64
import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import chromium

TIMEOUT = 60  # seconds
KEY_CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Enter": 13}


def wait_until(is_done, what=""):
    """Call a function until it returns something true."""
    end = time.monotonic() + TIMEOUT
    while not is_done():
        assert time.monotonic() < end, f"this has not happened: {what or is_done}"
        time.sleep(0.03)


class Page:
    """One page of a browser; see :func:`open_page`."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._received = b""
        self._last_id = 0
        self.problems = []  # errors of the page's script and of its requests
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Result of a method of the protocol, for this page."""
        return self._call(method, session=self._session, **params)

    def open(self, url):
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """Value of a JavaScript expression in the page; promises are waited for."""
        options = dict(returnByValue=True, awaitPromise=True)
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression):
        """Wait until an expression is true."""
        wait_until(lambda: self.value(f"Boolean({expression})"), (expression, self.problems))

    def place(self, selector, x=0.5, y=0.5):
        """A place on an element, in the window's pixels."""
        box = self.value(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0] + x * box[2], box[1] + y * box[3]

    def move(self, selector, x=0.5, y=0.5):
        """Move the mouse to a place on an element."""
        left, top = self.place(selector, x, y)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=left, y=top)

    def click(self, selector, x=0.5, y=0.5):
        """Click on a place of an element."""
        self.move(selector, x, y)
        left, top = self.place(selector, x, y)
        for kind in ("mousePressed", "mouseReleased"):
            options = dict(x=left, y=top, button="left", clickCount=1)
            self.call("Input.dispatchMouseEvent", type=kind, **options)

    def key(self, key, ctrl=False):
        """Press a key."""
        code = KEY_CODES.get(key, ord(key.upper()[0]))
        options = dict(key=key, windowsVirtualKeyCode=code, modifiers=2 if ctrl else 0)
        text = "\r" if key == "Enter" else key
        if len(text) == 1 and not ctrl:
            options["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown", **options)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def type(self, selector, text):
        """Replace the text of a field and press Enter."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{field}.focus(), {field}.select()")
        self.call("Input.insertText", text=text)
        self.key("Enter")

    def set_size(self, width, height):
        """Size of the window in pixels."""
        options = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setDeviceMetricsOverride", **options)

    def set_scheme(self, scheme):
        """Ask the page for its "light" or "dark" colours."""
        features = [dict(name="prefers-color-scheme", value=scheme)]
        self.call("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path):
        """Write what the window shows as PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def _call(self, method, session=None, **params):
        self._last_id += 1
        message = dict(id=self._last_id, method=method, params=params)
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        """Keep what is wrong with the page."""
        if event.get("method") == "Runtime.exceptionThrown":
            details = event["params"]["exceptionDetails"]
            self.problems.append(details.get("exception", details).get("description", details))
        if event.get("method") == "Log.entryAdded":
            entry = event["params"]["entry"]
            if entry["level"] == "error":
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    def _receive(self):
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], TIMEOUT)
            part = os.read(self._from, 1 << 16) if ready else b""
            assert part, "the browser does not answer"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message.decode())


@contextlib.contextmanager
def open_page(size=(1280, 860)):
    """A browser in an empty profile, with one blank Page; it ends with the context."""
    browser = chromium.require()
    read_3, to_browser = os.pipe()
    from_browser, write_4 = os.pipe()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        flags = [*chromium.FLAGS, f"--user-data-dir={folder}/profile", "--remote-debugging-pipe"]
        # The shell puts the pipes where the browser expects them.
        shell = f'exec "$@" 3<&{read_3} 4>&{write_4}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "bash", browser, *flags],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            pass_fds=(read_3, write_4),
            env={**os.environ, "HOME": folder},
            start_new_session=True,
        )
        os.close(read_3)
        os.close(write_4)
        try:
            page = Page(to_browser, from_browser)
            page.set_size(*size)
            yield page
        finally:
            os.close(to_browser)
            os.close(from_browser)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
