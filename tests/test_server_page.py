"""The page in headless Chromium, with the real tiny.en where sound matters and a script where order matters.

VISKA_SCREENSHOTS names a folder for pictures of it.
"""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pysubs2
import pytest
import webvtt
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

import viska
from serving import Running, Scripted, letters, no_models, running, segment, wav
from viska.server.models import ModelStore
from viska.server.recogniser import Job
from viska.server.settings import Settings

pytestmark = pytest.mark.slow

AXE = "axe-core@4.14.1"
SPOKEN = "And Mr. John Dashwood had then leisure to consider"
GRAVE = {"serious", "critical"}


@pytest.fixture(scope="session")
def clip(recordings, tmp_path_factory) -> Path:
    """A recording at the rate that browsers record with, and a second of silence behind it."""
    samples = viska.load_audio(recordings / "sense_and_sensibility_0870.wav")
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    path.write_bytes(wav(np.concatenate([samples, np.zeros(16000, np.float32)])))
    return path


def chromium(downloads: Path, clip: Path) -> WebDriver:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        reason = "no chromium and chromedriver; install them from the system's packages"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1100,900",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}%noloop",
    ):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


@pytest.fixture
def downloads(tmp_path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def browser(downloads, clip) -> Iterator[WebDriver]:
    driver = chromium(downloads, clip)
    yield driver
    found = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    driver.quit()
    # An answer of 400 or 401 stands in the log of the browser too; nothing else may.
    assert [message for message in found if "Failed to load resource" not in message] == []


@pytest.fixture(scope="module")
def real(tiny_en) -> Iterator[Running]:
    settings = Settings(model=("tiny.en",))
    with running(settings, ModelStore(settings.model, lambda name: tiny_en, aliases=settings.aliases())) as server:
        yield server


class Stage:
    """Says a segment each time it is told to; the third has a doubtful word."""

    texts = (" The quick brown fox", " jumps over the lazy dog.", " The end.")

    def __init__(self) -> None:
        self.cues = threading.Semaphore(0)
        self.jobs: list[Job] = []

    def __call__(self, job: Job) -> viska.Transcript:
        self.jobs.append(job)
        job.duration_s, job.token_bytes = 6.0, letters
        job.on_progress()
        spoken = []
        for number, text in enumerate(self.texts):
            while not self.cues.acquire(timeout=0.05):
                if job.cancelled:
                    return viska.Transcript("", (), "en")
            if job.cancelled:
                self.cues.release()  # it was meant for another job
                return viska.Transcript("", (), "en")
            said = segment(number, text, words=True)
            if number == 2:
                said = replace(said, words=(said.words[0], replace(said.words[1], probability=0.2)))
            spoken.append(said)
            job.on_segment(said)
            job.position_s = said.end
            job.on_progress()
        return viska.Transcript("".join(self.texts), tuple(spoken), "en")


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def scripted(stage) -> Iterator[Running]:
    with running(Settings(), no_models("base", "tiny.en"), Scripted(stage)) as server:
        yield server


@pytest.fixture
def told(browser, scripted, stage, clip) -> WebDriver:
    """The page with the whole scripted transcript on it."""
    open_page(browser, scripted)
    upload(browser, clip)
    stage.cues.release(3)
    finished(browser)
    return browser


def until(browser: WebDriver, happened, timeout_s: float = 60):
    return WebDriverWait(browser, timeout_s, poll_frequency=0.05).until(lambda _: happened())


def one(browser: WebDriver, selector: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, selector)


def every(browser: WebDriver, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def open_page(browser: WebDriver, server: Running) -> None:
    browser.get(server.url)
    until(browser, lambda: every(browser, "#model option"))


def upload(browser: WebDriver, path: Path) -> None:
    one(browser, "#file").send_keys(str(path))


def finished(browser: WebDriver) -> None:
    until(browser, lambda: "Done" in one(browser, "#status").get_attribute("textContent"))
    until(browser, lambda: not one(browser, "#work").is_displayed())


def text_of(browser: WebDriver) -> str:
    return " ".join(part.text for part in every(browser, "#transcript p"))


def word(browser: WebDriver, text: str) -> WebElement:
    return next(element for element in every(browser, ".word") if element.text == text)


def position(browser: WebDriver) -> float:
    return browser.execute_script("return document.getElementById('player').currentTime")


def picture(browser: WebDriver, name: str) -> None:
    if folder := os.environ.get("VISKA_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def dark(browser: WebDriver, on: bool) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def phone(browser: WebDriver) -> None:
    metrics = {"width": 375, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_an_uploaded_file_becomes_text_with_a_player(browser, real, recordings):
    open_page(browser, real)
    picture(browser, "serve-empty")
    upload(browser, recordings / "sense_and_sensibility_0870.wav")
    finished(browser)
    assert SPOKEN in text_of(browser)
    assert len(every(browser, ".word")) == 22
    until(browser, lambda: browser.execute_script("return document.getElementById('player').duration") > 7)
    word(browser, "leisure").click()
    picture(browser, "serve-light")
    dark(browser, True)
    picture(browser, "serve-dark")
    phone(browser)
    picture(browser, "serve-phone")


def test_the_microphone_is_recorded_and_transcribed(browser, real):
    open_page(browser, real)
    one(browser, "#record").click()
    until(browser, lambda: one(browser, "#clock").text == "0:08")
    assert one(browser, "#record").get_attribute("aria-pressed") == "true"
    one(browser, "#record").click()
    finished(browser)
    assert "John Dashwood" in text_of(browser)
    assert one(browser, "#record").text == "Record"
    # Sound comes in packets, the last of which may have been under way: 7.98 s were seen.
    until(browser, lambda: 7.5 < browser.execute_script("return document.getElementById('player').duration") < 12)
    assert position(browser) == 0
    word(browser, "leisure").click()
    assert position(browser) > 2


def test_text_comes_while_the_rest_is_still_unheard(browser, scripted, stage, clip):
    open_page(browser, scripted)
    upload(browser, clip)
    until(browser, lambda: "of 0:06" in one(browser, "#status").text)
    assert text_of(browser) == ""
    stage.cues.release()
    until(browser, lambda: text_of(browser) == "The quick brown fox")
    until(browser, lambda: one(browser, "#progress").get_property("value") == 2)
    assert one(browser, "#status").text == "Transcribing: 0:02 of 0:06"
    assert one(browser, "#work").is_displayed()
    stage.cues.release(2)
    finished(browser)
    assert text_of(browser) == "The quick brown fox jumps over the lazy dog. The end."


def test_cancelling_ends_the_job(browser, scripted, stage, clip):
    open_page(browser, scripted)
    upload(browser, clip)
    until(browser, lambda: stage.jobs)
    one(browser, "#cancel").click()
    until(browser, lambda: stage.jobs[0].cancelled)
    until(browser, lambda: not one(browser, "#work").is_displayed())


def test_a_second_recording_takes_the_place_of_the_first(browser, scripted, stage, clip):
    open_page(browser, scripted)
    upload(browser, clip)
    until(browser, lambda: stage.jobs)
    stage.cues.release()
    until(browser, lambda: text_of(browser))
    upload(browser, clip)
    until(browser, lambda: stage.jobs[0].cancelled)
    stage.cues.release(3)
    finished(browser)
    assert len(every(browser, "#transcript li")) == 3


def test_a_click_on_a_word_moves_the_player(told):
    word(told, "jumps").click()
    assert position(told) == pytest.approx(2.0, abs=0.01)
    assert [element.text for element in every(told, ".now")] == ["jumps"]
    word(told, "fox").click()
    assert position(told) == pytest.approx(1.5, abs=0.01)
    assert [element.text for element in every(told, ".now")] == ["fox"]


def test_words_light_up_as_they_are_spoken(told):
    seen = []
    told.execute_script("document.getElementById('player').play()")

    def at_the_dog():
        seen.extend(element.text for element in every(told, ".now"))
        return position(told) > 2.5

    until(told, at_the_dog)
    told.execute_script("document.getElementById('player').pause()")
    order = list(dict.fromkeys(seen))
    assert len(order) > 3
    assert order == [element for element in ["The", "quick", "brown", "fox", "jumps", "over"] if element in order]


def test_doubtful_words_are_marked_and_the_marks_can_be_switched_off(told):
    assert [element.text for element in every(told, ".doubts .doubt")] == ["end."]
    assert one(told, ".doubt").get_attribute("title") == "doubtful: 20 %"
    one(told, "#doubts").click()
    assert every(told, ".doubts .doubt") == []


def test_search_marks_and_steps_through_the_places(told):
    one(told, "#search").send_keys("the")
    until(told, lambda: one(told, "#hits").text == "3 found")
    assert [element.text for element in every(told, ".hit")] == ["The", "the", "The"]
    one(told, "#search").send_keys(Keys.ENTER)
    assert one(told, "#hits").text == "1 of 3"
    one(told, "#next").click()
    assert one(told, "#hits").text == "2 of 3"
    assert position(told) == pytest.approx(2.8, abs=0.01)
    one(told, "#previous").click()
    one(told, "#previous").click()
    assert one(told, "#hits").text == "3 of 3"
    one(told, "#search").clear()
    one(told, "#search").send_keys("quick brown")
    until(told, lambda: [element.text for element in every(told, ".hit")] == ["quick", "brown"])


def test_what_is_edited_is_what_is_downloaded(told, downloads, clip):
    one(told, "#edit").click()
    paragraph = every(told, "#transcript p")[1]
    paragraph.click()
    ActionChains(told).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).send_keys("leaps --> away.").perform()
    one(told, "#edit").click()
    contents = {}
    for name in ("txt", "srt", "vtt", "json"):
        one(told, f"[data-format={name}]").click()
        path = downloads / f"clip.{name}"
        until(told, path.is_file)
        contents[name] = path.read_text()
    assert contents["txt"] == "The quick brown fox\nleaps --> away.\nThe end.\n"
    assert "2\n00:00:02,000 --> 00:00:04,000\nleaps -> away.\n\n" in contents["srt"]
    assert contents["vtt"].startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nThe quick brown fox\n\n")
    result = json.loads(contents["json"])
    assert result["text"] == "The quick brown fox leaps --> away. The end."
    assert "words" not in result["segments"][1]
    assert result["segments"][0]["words"][3]["word"] == "fox"
    assert [line.plaintext for line in pysubs2.SSAFile.from_string(contents["srt"])][1] == "leaps -> away."
    assert len(webvtt.from_string(contents["vtt"])) == 3


def test_by_keyboard_alone(browser, scripted, stage, clip):
    open_page(browser, scripted)
    keys = ActionChains(browser)

    def focused() -> WebElement:
        return browser.switch_to.active_element

    def press(*what: str) -> None:
        keys.send_keys(*what).perform()

    def tab_to(reached, most: int = 40) -> None:
        for _ in range(most):
            press(Keys.TAB)
            if reached(focused()):
                return
        pytest.fail("the tab key does not lead there")

    tab_to(lambda element: element.get_attribute("id") == "choose")
    tab_to(lambda element: element.get_attribute("id") == "record")
    press(Keys.ENTER)
    until(browser, lambda: one(browser, "#clock").text == "0:03")
    press(Keys.ENTER)
    stage.cues.release(3)
    finished(browser)
    tab_to(lambda element: element.get_attribute("id") == "search")
    press("dog")
    until(browser, lambda: one(browser, "#hits").text == "1 found")
    tab_to(lambda element: "word" in (element.get_attribute("class") or ""))
    assert focused().text == "The"
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert focused().text == "brown"
    press(Keys.END)
    assert focused().text == "fox"
    press(Keys.ENTER)
    assert [element.text for element in every(browser, ".now")] == ["fox"]
    press(" ")
    until(browser, lambda: not browser.execute_script("return document.getElementById('player').paused"))
    press(" ")
    assert browser.execute_script("return document.getElementById('player').paused")
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_file_that_is_dropped(browser, scripted, stage):
    open_page(browser, scripted)
    browser.execute_script("""
        const data = new DataTransfer();
        data.items.add(new File(["RIFF", new Uint8Array(1000)], "talk.wav"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    """)
    until(browser, lambda: "cannot be read as audio" in one(browser, "#error").text)
    assert one(browser, "#error").get_attribute("role") == "alert"


def test_what_goes_wrong_is_told(browser, real, tmp_path):
    open_page(browser, real)
    path = tmp_path / "notes.mp3"
    path.write_text("these are only notes")
    upload(browser, path)
    until(browser, lambda: "The uploaded file cannot be read as audio" in one(browser, "#error").text)
    assert not one(browser, "#work").is_displayed()


def test_a_server_with_keys_asks_for_one(browser, stage, clip):
    with running(Settings(api_key=("secret",)), no_models("base"), Scripted(stage)) as server:
        browser.get(server.url)
        until(browser, lambda: browser.switch_to.active_element.get_attribute("id") == "key")
        browser.switch_to.active_element.send_keys("wrong", Keys.TAB)
        until(browser, lambda: "API key is not known" in one(browser, "#error").text)
        one(browser, "#key").clear()
        one(browser, "#key").send_keys("secret", Keys.TAB)
        until(browser, lambda: every(browser, "#model option"))
        stage.cues.release(3)
        upload(browser, clip)
        finished(browser)
        assert "fox" in text_of(browser)


def test_the_page_fits_a_phone_and_talks_to_its_own_server_alone(told, scripted):
    fits = "return document.scrollingElement.scrollWidth <= document.documentElement.clientWidth"
    assert told.execute_script(fits)
    phone(told)
    assert told.execute_script(fits)
    small = [
        element.text
        for element in every(told, "button, input:not([type=checkbox]):not(.hidden), select")
        if element.is_displayed() and element.size["height"] < 40
    ]
    assert small == []
    asked = told.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert all(name.startswith((scripted.url, f"blob:{scripted.url}")) for name in asked)


@pytest.fixture(scope="session")
def axe(pytestconfig) -> str:
    """The script of axe-core, from npm."""
    folder = pytestconfig.cache.mkdir("axe")
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        if shutil.which("npm") is None:
            pytest.skip("no npm to fetch axe-core with")
        subprocess.run(["npm", "install", "--prefix", str(folder), AXE], check=True, capture_output=True)
    return script.read_text()


def faults(browser: WebDriver, axe: str) -> list[str]:
    browser.execute_script(axe)
    result = browser.execute_async_script("const done = arguments[arguments.length - 1]; axe.run().then(done)")
    return [
        f"{found['id']}: {node['html']} {node['failureSummary']}"
        for found in result["violations"]
        if found["impact"] in GRAVE
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_accessibility_check_finds_no_serious_fault(told, axe, scripted, scheme):
    dark(told, scheme == "dark")
    one(told, "#options summary").click()
    one(told, "#search").send_keys("fox")
    word(told, "end.").click()
    assert faults(told, axe) == []
    phone(told)
    assert faults(told, axe) == []
    one(told, "#edit").click()
    assert faults(told, axe) == []
    told.get(scripted.url + "/docs")
    until(told, lambda: every(told, "article"))
    picture(told, "serve-docs")
    assert faults(told, axe) == []
    told.get(scripted.url)
    assert faults(told, axe) == []


def test_the_page_of_the_api_lists_what_there_is(browser, scripted):
    browser.get(scripted.url + "/docs")
    until(browser, lambda: every(browser, "article"))
    text = one(browser, "main").text
    for part in ("POST /v1/audio/transcriptions", "timestamp_granularities[]", "GET /v1/models", "429", "beam_size"):
        assert part in text
