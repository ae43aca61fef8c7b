"""The studio in a real browser: Chromium, driven by Playwright. `make test-browser` runs these tests.

Screenshots go to the folder in STUDIO_SCREENSHOTS, else to a temporary one, for people to look at.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from vgg_files import random_vgg_weights, save_vgg_weights

pytest.importorskip("gradio", reason="the studio needs gradio")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
TABS = ("Photo", "Webcam", "Clip", "Train a style", "Slow method")
STYLES = ("great_wave", "starry_night", "the_scream")
COFFEE = ROOT / "examples" / "coffee.jpg"
MOST_MS = 180_000  # that anything may take before a test gives up; a loaded machine is slow
TINY = ("--width", "0.125", "--residual-blocks", "1", "--image-size", "32", "--learning-rate", "0.001",
        "--precision", "float32", "--save-every", "20")  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, photo) -> Path:
    """A folder with what visitors and the operator give: pictures, clips, photos/, styles/, vgg.npz."""
    folder = tmp_path_factory.mktemp("studio")
    for index in range(4):
        photo(folder / "photos" / f"photo{index}.png", height=120, width=140, seed=index)
    photo(folder / "painting.png", height=96, width=96, seed=9)
    photo(folder / "small.png", height=96, width=128, seed=8)
    save_vgg_weights(folder / "vgg.npz", random_vgg_weights("vgg19"))
    for style in STYLES:
        shutil.copytree(ROOT / "checkpoints" / style, folder / "styles" / style)
    with Image.open(COFFEE) as coffee:
        exif = coffee.getexif()
        exif[0x010E] = "my breakfast"  # ImageDescription
        coffee.save(folder / "breakfast.jpg", exif=exif, icc_profile=_profile(), quality=90)
    (folder / "notes.jpg").write_text("these are words")
    (folder / "bomb.png").write_bytes(_bomb())
    (folder / "heavy.jpg").write_bytes(bytes(3_000_000))
    _write_clip(folder / "clip.mp4")
    return folder


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _bomb() -> bytes:
    """A PNG file of some hundred bytes that claims 50,000 x 50,000 pixels."""
    import struct
    import zlib

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _write_clip(path: Path, *, frames: int = 8, rate: int = 8) -> None:
    """A video of one second with a tone."""
    import av

    with Image.open(COFFEE) as coffee:
        pixels = np.asarray(coffee.resize((160, 112)))
    tone = np.sin(np.arange(44100) * 2 * np.pi * 440 / 44100).astype(np.float32) / 3
    with av.open(str(path), "w") as clip:
        video, sound = clip.add_stream("libx264", rate=rate), clip.add_stream("aac", rate=44100)
        video.width, video.height, video.pix_fmt = 160, 112, "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, 4 * index, 1), format="rgb24")
            clip.mux(video.encode(frame))
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            clip.mux(sound.encode(frame))
        for stream in (video, sound):
            clip.mux(stream.encode())


class Server:
    """A studio as a process of its own."""

    def __init__(self, inputs: Path, folder: Path):
        self.folder, self.styles_dir, self.runs_dir = folder, inputs / "styles", folder / "runs"
        self.temporary_dir = folder / "tmp"
        self.temporary_dir.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        flags = {
            "studio": [
                *("--port", str(port), "--styles-dir", str(self.styles_dir), "--max-upload", "2"),
                *("--content-dir", str(inputs / "photos"), "--vgg", str(inputs / "vgg.npz")),
                *("--runs-dir", str(self.runs_dir), "--max-megapixels", "20", "--stop-limit", "3"),
            ],
            "training": TINY,
        }
        (folder / "flags.json").write_text(json.dumps(flags))
        self.url = f"http://127.0.0.1:{port}"
        self._log = open(folder / "log.txt", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "studio_server.py"), str(folder / "flags.json")],
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(self.temporary_dir)},
        )

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def wait(self) -> None:
        end = time.monotonic() + 120
        while "in a browser" not in self.log():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.2)

    def stop(self) -> int:
        """Ctrl-C; returns the exit status."""
        self.process.send_signal(2)
        try:
            return self.process.wait(90)
        finally:
            self.process.kill()
            self._log.close()


@pytest.fixture(scope="module")
def server(inputs, tmp_path_factory):
    server = Server(inputs, tmp_path_factory.mktemp("server"))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    folder = Path(os.environ.get("STUDIO_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _opened(browser, url: str, viewport: dict):
    """A page. In the end: no request has left this machine, no script has failed, no answer was an error."""
    context = browser.new_context(viewport=viewport, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(MOST_MS)
    hosts, faults = set(), []
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("response", lambda answer: answer.status >= 500 and faults.append(answer.url))
    page.goto(url)
    page.wait_for_selector("#styles img")
    try:
        yield page
    finally:
        context.close()
    assert hosts - {None} == {"127.0.0.1"}  # None: of blob: and data: addresses
    assert faults == []


@pytest.fixture
def page(browser, server):
    with _opened(browser, server.url, DESKTOP) as page:
        yield page


@pytest.fixture
def phone(browser, server):
    with _opened(browser, server.url, PHONE) as page:
        yield page


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def give(page, part: str, path: Path) -> None:
    page.set_input_files(f"{part} input[type=file]", str(path))


def wait_for_text(page, part: str, text: str, most_ms: int = MOST_MS) -> str:
    page.wait_for_function(
        "([part, text]) => document.querySelector(part)?.innerText.includes(text)",
        arg=[part, text],
        timeout=most_ms,
    )
    return page.inner_text(part)


def give_photo(page, path: Path) -> None:
    give(page, "#photo", path)
    page.wait_for_selector("#photo .image-frame img")


def make_picture(page) -> str:
    page.click("#start")
    line = wait_for_text(page, "#photo-line", "seconds")
    page.wait_for_selector("#slider [data-testid=imageslider-image]")
    return line


def downloaded(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def choose(page, part: str, label: str) -> None:
    page.click(f"{part} input")
    page.get_by_role("option", name=label).first.click()


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32)


def test_a_photo_becomes_a_picture_of_the_chosen_style(page, inputs, tmp_path, screenshots):
    page.screenshot(path=screenshots / "photo_start.png", full_page=True)
    give_photo(page, inputs / "breakfast.jpg")
    page.click("#styles button:has-text('Starry night')")
    page.wait_for_function("document.querySelector('#style input').value.includes('Starry night')")
    assert "600 × 400 pixels" in make_picture(page)
    page.wait_for_timeout(500)
    page.screenshot(path=screenshots / "photo_done.png", full_page=True)

    path = downloaded(page, "#download", tmp_path)
    assert path.name == "breakfast_starry_night.jpg"
    with Image.open(path) as picture, Image.open(inputs / "breakfast.jpg") as breakfast:
        assert picture.size == (600, 400)
        assert picture.getexif()[0x010E] == "my breakfast"
        assert picture.info["icc_profile"] == breakfast.info["icc_profile"]
    assert np.abs(pixels_of(path) - pixels_of(inputs / "breakfast.jpg")).mean() > 10


def test_the_slider_moves_by_mouse_and_by_arrow_keys(page, inputs, screenshots):
    give_photo(page, COFFEE)
    make_picture(page)
    handle = page.locator("#slider [role=slider]")
    before = handle.bounding_box()
    middle = before["y"] + before["height"] / 2
    page.mouse.move(before["x"] + before["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(before["x"] + 150, middle, steps=5)
    page.mouse.up()
    dragged = handle.bounding_box()
    assert dragged["x"] > before["x"] + 100
    handle.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert handle.bounding_box()["x"] < before["x"] - 150
    assert page.locator("#slider img").evaluate_all("images => images.map(image => image.alt)") == [
        "the photo",
        "the picture in the style",
    ]


def test_only_what_was_painted_over_gets_the_style(page, inputs, tmp_path, screenshots):
    give_photo(page, COFFEE)
    page.click("#mask-part > button")
    canvas = page.locator("#mask canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(2000)  # until the photo is drawn
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 50, y)
    page.mouse.down()
    page.mouse.move(x + 50, y, steps=10)
    page.mouse.up()
    page.click("#more > button")
    choose(page, "#format", "PNG")
    make_picture(page)
    page.wait_for_timeout(500)
    page.screenshot(path=screenshots / "mask.png", full_page=True)

    change = np.abs(pixels_of(downloaded(page, "#download", tmp_path)) - pixels_of(COFFEE)).mean(axis=-1)
    assert change[:60].max() == 0 and change[-60:].max() == 0
    assert change[190:210, 290:310].mean() > 10


def test_all_styles_are_shown_and_a_click_chooses_one(page, screenshots):
    give_photo(page, COFFEE)
    page.click("#all-styles")
    page.wait_for_function(f"document.querySelectorAll('#sheet img').length === {len(STYLES)}")
    page.wait_for_timeout(500)
    page.screenshot(path=screenshots / "sheet.png", full_page=True)
    page.click("#sheet button:has-text('The scream')")
    page.wait_for_function("document.querySelector('#style input').value.includes('The scream')")


def test_a_clip_gets_the_style_and_keeps_its_sound(page, inputs, tmp_path, screenshots):
    import av

    tab(page, "Clip")
    give(page, "#clip", inputs / "clip.mp4")
    page.wait_for_selector("#clip .file-preview")
    page.click("#clip-start")
    assert wait_for_text(page, "#clip-line", "frames in").startswith("8 frames")
    page.wait_for_function("document.querySelector('#clip-video video')?.readyState >= 2")
    page.screenshot(path=screenshots / "clip.png", full_page=True)
    path = downloaded(page, "#clip-download", tmp_path)
    with av.open(str(path)) as clip:
        assert clip.streams.video[0].frames == 8 and len(clip.streams.audio) == 1


def test_the_webcam_is_shown_in_the_style_with_its_rate(page, screenshots):
    tab(page, "Webcam")
    page.click("#camera button:has-text('Click to Access Webcam')")
    page.click("#camera button:has-text('Record')")
    page.wait_for_selector("#live-view img")
    rate = wait_for_text(page, "#live-line", "frames a second")
    page.wait_for_timeout(3000)
    page.screenshot(path=screenshots / "webcam.png", full_page=True)
    assert "384 × 288" in rate
    page.click("#camera button:has-text('Stop')")


def start_training(page, inputs: Path, name: str, steps: int) -> None:
    tab(page, "Train a style")
    give(page, "#painting", inputs / "painting.png")
    page.wait_for_selector("#painting .image-frame img")
    page.fill("#train-name input, #train-name textarea", name)
    page.fill("#train-steps input", str(steps))
    page.click("#train-start")


def wait_for_step(page, least: int, of: int) -> None:
    """Until the page shows that many steps of a training: their losses are known, and a state is saved."""
    page.wait_for_function(
        "([least, of]) => { const text = document.querySelector('#train-line').innerText;"
        " return +(text.match(new RegExp(`step ([0-9]+) of ${of}`)) || [])[1] >= least; }",
        arg=[least, of],
    )


def test_a_style_of_20_steps_is_trained_and_appears_among_the_others(page, inputs, server, screenshots):
    start_training(page, inputs, "my painting", 20)
    wait_for_text(page, "#train-line", "runs")
    page.reload()  # the training goes on
    tab(page, "Train a style")
    wait_for_text(page, "#train-line", "is finished after step 20 of 20")
    page.wait_for_selector("#train-plot svg, #train-plot canvas")
    page.wait_for_selector("#train-previews img")
    page.wait_for_timeout(1500)
    page.screenshot(path=screenshots / "training.png", full_page=True)
    assert (server.styles_dir / "my painting" / "style.json").is_file()
    assert not (server.runs_dir / "my painting" / "uploads").exists()

    tab(page, "Photo")
    give_photo(page, COFFEE)
    page.click("#styles button:has-text('My painting')")
    page.wait_for_function("document.querySelector('#style input').value.includes('My painting')")
    make_picture(page)


def test_a_training_is_stopped_and_resumed(page, inputs, server, screenshots):
    start_training(page, inputs, "paused", 4000)
    wait_for_step(page, 20, of=4000)
    page.click("#train-stop")
    assert "its state is saved" in wait_for_text(page, "#train-line", "was stopped")
    page.wait_for_selector("#train-unfinished input")
    page.screenshot(path=screenshots / "training_stopped.png", full_page=True)
    assert page.input_value("#train-unfinished input") == "paused"
    page.click("#train-resume")
    wait_for_text(page, "#train-line", "runs")
    page.click("#train-stop")
    wait_for_text(page, "#train-line", "was stopped")
    page.wait_for_function("document.querySelector('#train-unfinished input')?.value === 'paused'")


def test_a_training_names_what_is_wrong_in_one_line(page, inputs, screenshots):
    start_training(page, inputs, "../outside", 20)
    message = wait_for_text(page, ".toast-body", "name")
    assert "plain folder name" in message and "Traceback" not in message
    page.screenshot(path=screenshots / "training_error.png")


def test_the_slow_method_shows_pictures_on_the_way_and_keeps_the_last_one(
    page, inputs, tmp_path, screenshots
):
    tab(page, "Slow method")
    give(page, "#slow-photo", inputs / "small.png")
    give(page, "#slow-painting", inputs / "painting.png")
    page.wait_for_selector("#slow-painting .image-frame img")
    page.fill("#slow-width input[type=number]", "64")
    page.fill("#slow-iterations input[type=number]", "1000")
    page.keyboard.press("Tab")
    page.click("#slow-start")
    page.wait_for_selector("#slow-picture img")
    page.screenshot(path=screenshots / "slow_running.png", full_page=True)
    page.click("#slow-stop")
    wait_for_text(page, "#slow-line", "Finished")
    page.wait_for_timeout(1000)
    page.screenshot(path=screenshots / "slow_done.png", full_page=True)
    with Image.open(downloaded(page, "#slow-download", tmp_path)) as picture:
        assert picture.width == 64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("notes.jpg", "notes.jpg: not an image in a supported format"),
        ("bomb.png", "bomb.png: "),
        ("heavy.jpg", "exceed the maximum allowed size"),
    ],
)
def test_a_bad_file_gets_one_line_without_paths(page, inputs, server, screenshots, name, expected):
    give(page, "#photo", inputs / name)
    message = wait_for_text(page, ".toast-body", expected)
    page.screenshot(path=screenshots / f"error_{Path(name).stem}.png")
    assert str(server.temporary_dir) not in message and "Traceback" not in message


def test_nothing_scrolls_sideways_on_a_phone(phone, screenshots):
    for name in TABS:
        button = phone.get_by_role("tab", name=name)
        if not button.is_visible():
            phone.locator(".overflow-menu > button").first.click()
            button = phone.locator(f".overflow-dropdown button:has-text('{name}')")
        button.click()
        phone.wait_for_timeout(600)
        width = phone.evaluate("document.documentElement.scrollWidth")
        phone.screenshot(path=screenshots / f"phone_{name.replace(' ', '_').lower()}.png", full_page=True)
        assert width <= PHONE["width"], name


def test_a_photo_is_made_on_a_phone(phone, screenshots):
    give_photo(phone, COFFEE)
    make_picture(phone)
    phone.wait_for_timeout(500)
    phone.locator("#slider").scroll_into_view_if_needed()
    phone.screenshot(path=screenshots / "phone_done.png", full_page=True)
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_picture_is_made_by_keyboard_alone(page, screenshots):
    give_photo(page, COFFEE)  # the dialog to choose a file belongs to the system
    page.evaluate("document.activeElement.blur()")

    def tab_to(condition: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(f"(() => {{ const here = document.activeElement; return {condition}; }})()"):
                return
        raise AssertionError(f"Tab does not reach {condition}")

    tab_to("here.matches('#styles button') && here.innerText.includes('The scream')")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#style input').value.includes('The scream')")
    tab_to("here.matches('#strength input[type=range]')")
    page.keyboard.press("ArrowLeft")
    tab_to("here.id === 'start'")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.screenshot(path=screenshots / "keyboard_focus.png")
    assert outline == "solid"
    page.keyboard.press("Enter")
    wait_for_text(page, "#photo-line", "seconds")
    tab_to("here.matches('#slider [role=slider]')")


def test_every_picture_and_field_has_a_name(page, inputs):
    give_photo(page, COFFEE)
    make_picture(page)
    page.wait_for_timeout(500)
    nameless = page.evaluate(
        "[...document.querySelectorAll('img')].filter(i => !i.alt && i.offsetParent).map(i => i.outerHTML)"
    )
    assert nameless == []


def test_a_stopped_studio_leaves_nothing_behind_and_saves_the_training(browser, inputs, tmp_path):
    server = Server(inputs, tmp_path)
    try:
        server.wait()
        with _opened(browser, server.url, DESKTOP) as page:
            start_training(page, inputs, "interrupted", 4000)
            wait_for_step(page, 20, of=4000)
            status = server.stop()
    finally:
        server.process.kill()
    assert status == 130
    assert "Traceback" not in server.log()
    left = {path.name for path in server.temporary_dir.iterdir()} - {".ses"}  # the mark of ONNX Runtime
    assert left == set()
    assert list((server.runs_dir / "interrupted" / "state").glob("*"))
