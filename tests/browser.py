"""A browser for tests: headless Chromium through chromedriver's own protocol (W3C WebDriver)."""

import base64
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import requests

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
ABSENT = None if CHROMIUM and DRIVER else "no chromium or no chromedriver (Debian: apt-get install chromium-driver)"


class Browser:
    """One window; it is closed with the session."""

    def __init__(self, server, arguments, mobile=None):
        options = {"binary": CHROMIUM, "args": arguments}
        if mobile:
            width, height = mobile
            options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2.0}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.server = server
        self.address = f"{server}/session"
        self.address += "/" + self.post("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def post(self, path, body):
        answer = requests.post(self.address + path, json=body, timeout=120).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{path}: {answer['message']}")
        return answer

    def open(self, file):
        self.post("/url", {"url": Path(file).resolve().as_uri()})

    def run(self, script, *arguments):
        """What a script returns, or what its promise becomes."""
        return self.post("/execute/sync", {"script": script, "args": list(arguments)})

    def scheme(self, name):
        """Prefer "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        parameters = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self.post("/goog/cdp/execute", parameters)

    def complaints(self):
        """What the console was told, but for mere information."""
        entries = self.post("/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] not in ("INFO", "DEBUG")]

    def screenshot(self, file):
        answer = requests.get(self.address + "/screenshot", timeout=60).json()
        Path(file).write_bytes(base64.b64decode(answer["value"]))

    def close(self):
        requests.delete(self.address, timeout=60)


@contextmanager
def driver():
    """The address of a chromedriver of our own."""
    process = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                yield f"http://127.0.0.1:{found[1]}"
                break
        else:
            raise RuntimeError("chromedriver did not start")
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(30)


@contextmanager
def browser(size=(1100, 1400), mobile=None):
    """A headless browser with a window of that size, or one that says it is a phone of that size."""
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio"]
    arguments += ["--autoplay-policy=no-user-gesture-required", f"--window-size={size[0]},{size[1]}"]
    with driver() as server:
        opened = Browser(server, arguments, mobile)
        try:
            yield opened
        finally:
            opened.close()
