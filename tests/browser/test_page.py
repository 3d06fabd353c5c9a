"""A page opened from disk with the network off: keyboard, mouse, touch of the address, themes."""

from __future__ import annotations

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from explore import compass, gallery

from benchmarks.browser import frames, until
from diffteach.explore.explorable import Explorable
from diffteach.explore.params import Slider
from diffteach.explore.scene import Scene, layer

pytestmark = pytest.mark.browser

STATE = "document.getElementById('diffteach').diffteach"
PIXELS = """Array.from(document.querySelectorAll('.diffteach canvas')).map(function (c) {
  if (!c.width) return 0;
  const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(c, 0, 0);
  const d = copy.getImageData(0, 0, c.width, c.height).data;
  let h = 0;
  for (let i = 0; i < d.length; i++) h = (h * 31 + d[i]) | 0;
  return h;
}).join()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    explorable = Explorable(gallery.build, guess=True)
    return explorable.page(tmp_path_factory.mktemp("page") / "gallery.html").as_uri()


@pytest.fixture
def visit(chromium, address):
    """Open the page; whatever it complains about or asks the network for fails the test."""
    faults: list[str] = []
    contexts = []

    def refuse(route) -> None:
        faults.append(f"asked for {route.request.url}")
        route.abort()

    def opened(link: str = "", **options):
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        context.route(re.compile(r"^(?!file:|blob:|data:)"), refuse)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address + (f"#{link}" if link else ""))
        until(page, f"{STATE} && {STATE}.draws > 0")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def values(page) -> dict:
    return page.evaluate(f"{STATE}.values")


def settled(page) -> str:
    """The pixels once frames have passed."""
    frames(page)
    return page.evaluate(PIXELS)


def test_every_slider_moves_by_keyboard_and_by_mouse(visit) -> None:
    page = visit()
    sliders = page.locator("input[type=range]:visible")
    assert sliders.count() == 3
    for k, name in enumerate(["a", "b"]):
        slider = sliders.nth(k)
        slider.focus()
        before = settled(page)
        for key in ("ArrowRight", "Home", "End", "ArrowLeft"):
            page.keyboard.press(key)
            after = settled(page)
            assert after != before, f"{name} {key}"
            before = after
        box = slider.bounding_box()
        page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
        assert settled(page) != before
    assert 0.2 < values(page)["a"] < 0.3
    assert 0.001 < values(page)["b"] < 0.02
    positions = [int(sliders.nth(k).get_attribute("max")) for k in range(3)]
    assert min(positions) >= 200


def test_handles_are_dragged_and_stay_inside(visit) -> None:
    page = visit()
    knob = page.get_by_role("slider", name="probe", exact=True)
    box = knob.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = settled(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y - 30, steps=4)
    assert settled(page) != before
    dragged = values(page)["probe"]
    assert dragged[0] < 0.4 and dragged[1] > 1.1
    page.mouse.move(x + 4000, y + 4000, steps=3)
    page.mouse.up()
    assert values(page)["probe"] == [2, -1]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    assert values(page)["probe"] == pytest.approx([1.96, -0.6])
    page.mouse.move(100, 100)
    assert values(page)["probe"] == pytest.approx([1.96, -0.6])


def test_handles_follow_a_finger(visit) -> None:
    page = visit(has_touch=True, viewport={"width": 420, "height": 800})
    knob = page.get_by_role("slider", name="probe", exact=True)
    box = knob.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points) -> None:
        at = [{"x": px, "y": py} for px, py in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    send("touchStart", (x, y))
    for k in range(1, 6):
        send("touchMove", (x - 8 * k, y))
    send("touchEnd")
    frames(page)
    assert values(page)["probe"][0] < 0.3


def test_reset_play_choices_and_panels(visit) -> None:
    page = visit()
    start = settled(page)
    page.locator("input[type=range]").first.focus()
    page.keyboard.press("End")
    page.get_by_text("saddle").click()
    page.get_by_label("dots", exact=True).uncheck()
    frames(page)
    assert page.locator(".dt-panel:visible").count() == 3
    assert page.locator("input[id$=ghost]").is_hidden()
    assert settled(page) != start
    page.keyboard.press("r")
    assert settled(page) == start
    page.locator("input[type=range]").first.focus()
    page.keyboard.press(" ")
    until(page, f"{STATE}.values.a > 0.3")
    page.keyboard.press(" ")
    moved = values(page)["a"]
    assert moved > 0.3
    page.wait_for_timeout(100)
    assert values(page)["a"] == moved
    page.get_by_role("button", name="Reset").click()
    assert settled(page) == start
    assert page.get_by_text("level", exact=True).is_visible()  # a kernel's choice is only said


def test_a_guess_is_placed_revealed_and_scored(visit) -> None:
    page = visit()
    before = settled(page)
    guess = page.get_by_role("slider", name="your guess")
    guess.focus()
    for key in ["Shift+ArrowRight"] * 3 + ["Shift+ArrowUp"] * 2:
        page.keyboard.press(key)
    page.get_by_role("button", name="Reveal").click()
    frames(page)
    assert values(page)["revealed"] == 1
    assert "Well placed." in page.locator(".dt-verdict").inner_text()
    assert settled(page) != before
    placed = values(page)["guess"]
    guess.focus()
    page.keyboard.press("ArrowLeft")
    assert values(page)["guess"] == placed
    verdict = page.locator(".dt-verdict").inner_text()
    page.locator("input[type=range]").first.focus()
    page.keyboard.press("End")
    frames(page)
    assert page.locator(".dt-verdict").inner_text() == verdict  # of the moment it was revealed
    until(page, "location.hash.includes('guess=1') && !location.hash.includes('guess=-')")
    page.get_by_role("button", name="Guess again").click()
    frames(page)
    assert page.locator(".dt-verdict").inner_text() == ""
    page.get_by_role("button", name="Reveal").click()
    assert page.locator(".dt-verdict").inner_text() != verdict
    page.get_by_role("button", name="Reset").click()
    frames(page)
    assert values(page)["revealed"] == 0 and values(page)["guess"] == [-1, 0]
    assert page.locator(".dt-verdict").inner_text() == ""


def test_the_address_is_the_state(visit) -> None:
    explorable = Explorable(gallery.build, guess=True)
    explorable.set(a=0.61, b=0.037, mode="mirrored", on=False, probe=(-1.25, 2.5))
    explorable.hide = ("b",)
    link = explorable.permalink()
    page = visit(link)
    shown = values(page)
    assert shown["a"] == 0.61 and shown["b"] == 0.037 and shown["mode"] == "mirrored"
    assert shown["on"] is False and shown["probe"] == [-1.25, 2.5]
    assert page.locator("input[id$=-b]").is_hidden()
    page.locator("input[type=range]").first.focus()
    page.keyboard.press("Home")
    until(page, "location.hash.includes('a=0&')")
    hash_ = page.evaluate("location.hash").removeprefix("#")
    assert len(hash_) <= 300
    other = Explorable(gallery.build, guess=True).open(hash_)
    assert other.values["a"] == 0.0 and other.hide == ("b",)
    assert other.permalink() == hash_
    page.reload()
    until(page, f"{STATE} && {STATE}.draws > 0")
    assert values(page)["a"] == 0 and values(page)["mode"] == "mirrored"


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("gallery?a=7", "a must lie in"),
        ("gallery?mode=no", "mode must be"),
        ("gallery?x=1", "x=1"),
        ("gallery?hide=a,nothing", "no control nothing"),
        ("other?a=0.5", "This link is for other; this page shows gallery."),
    ],
)
def test_a_wrong_address_is_said_and_nothing_changes(visit, link, said) -> None:
    page = visit(link)
    strip = page.get_by_role("alert")
    assert said in strip.inner_text()
    assert values(page)["a"] == 0.3
    strip.get_by_role("button", name="Dismiss").click()
    assert strip.is_hidden()


def test_a_malformed_address_does_not_deafen_the_page(visit) -> None:
    page = visit("%E0%A4%A")
    assert "This link is for" in page.get_by_role("alert").inner_text()
    page.evaluate("location.hash = 'gallery?a=0.5&guess=1,2'")
    until(page, f"{STATE}.values.a === 0.5")
    assert page.get_by_role("alert").is_hidden()
    assert values(page)["guess"] == [-1, 0]


def opened_offline(chromium, explorable, path, **options):
    page = chromium.new_context(offline=True, **options).new_page()
    page.goto(explorable.page(path).as_uri())
    until(page, f"{STATE} && {STATE}.draws > 0")
    return page


def test_reset_returns_to_the_view_that_python_wrote(chromium, tmp_path) -> None:
    explorable = Explorable(gallery.build).set(a=0.75, mode="saddle", probe=(1.0, 1.0))
    page = opened_offline(chromium, explorable, tmp_path / "page.html")
    start = values(page)
    assert start["a"] == 0.75
    page.evaluate("location.hash = 'gallery?a=0.5'")
    until(page, f"{STATE}.values.a === 0.5")
    assert values(page)["mode"] == "plain"
    page.get_by_role("button", name="Reset").click()
    assert values(page) == start
    page.context.close()


PLOT = {"left": 38, "right": 10, "top": 26, "bottom": 20}


def plot(canvas, ratio: int = 1) -> np.ndarray:
    """Colours (rows, columns, 3) inside a panel's frame."""
    data = canvas.evaluate("function (c) { return c.toDataURL(); }").partition(",")[2]
    pixels = plt.imread(io.BytesIO(base64.b64decode(data)))
    pixels = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
    left, top = ratio * PLOT["left"], ratio * PLOT["top"]
    side = pixels.shape[1] - left - ratio * PLOT["right"]
    return pixels[top : top + side, left : left + side]


def test_everything_is_the_right_way_round(chromium, tmp_path) -> None:
    explorable = Explorable(compass.build)
    page = opened_offline(chromium, explorable, tmp_path / "page.html", device_scale_factor=2)
    assert compass.faults([plot(canvas, 2) for canvas in page.locator("canvas").all()]) == []
    x, y = [(v - low) / 4 for v, low in zip(compass.PLACE, compass.BOUNDS[::2], strict=True)]
    knob = page.get_by_role("slider", name="knob").bounding_box()
    panel = page.locator("canvas").nth(1).bounding_box()
    side = panel["width"] - PLOT["left"] - PLOT["right"]
    assert knob["x"] + 14 == pytest.approx(panel["x"] + PLOT["left"] + x * side, abs=1)
    assert knob["y"] + 14 == pytest.approx(panel["y"] + PLOT["top"] + (1 - y) * side, abs=1)
    page.context.close()


def one_panel(mine=None) -> Scene:
    sliders = tuple(Slider(f"s{k}", f"s{k}", 0.0, 1.0, 0.5) for k in range(14))
    drawn = (layer("marker", xy="point(0.9, 0.5)", label="a long label"),)
    return Scene("one", "", (0.0, 1.0, 0.0, 1.0), sliders, drawn, "Words.")


def test_a_picture_of_one_panel_is_no_higher_than_it(chromium, tmp_path) -> None:
    explorable = Explorable(one_panel)
    options = {"accept_downloads": True, "viewport": {"width": 1200, "height": 800}}
    page = opened_offline(chromium, explorable, tmp_path / "page.html", **options)
    panel = page.locator("canvas").first.bounding_box()
    assert panel["width"] == 560  # large, for a projector
    line = plot(page.locator("canvas").first)[248:264].min((0, 2))  # as high as the marker
    assert line[380:440].min() < 0.5 and line[475:508].min() > 0.9  # its label is on its left
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    download.value.save_as(tmp_path / "one.png")
    height, width = plt.imread(tmp_path / "one.png").shape[:2]
    assert page.locator(".dt-side").bounding_box()["height"] > panel["height"] + 100
    assert height / 2 - panel["height"] < 100
    assert width / 2 == panel["width"] + 40
    page.context.close()


# Emulation changes the ratio without telling the media queries: they are kept, to be told.
KEEP_QUERIES = """(function () {
  const ask = window.matchMedia.bind(window);
  window.asked = [];
  window.matchMedia = function (text) {
    const query = ask(text);
    window.asked.push(query);
    return query;
  };
})()"""
TELL = """asked.filter(function (q) { return /resolution/.test(q.media) && !q.matches; })
  .forEach(function (q) { q.dispatchEvent(new Event('change')); })"""


def test_a_finer_screen_gets_finer_pixels(chromium, tmp_path) -> None:
    page = chromium.new_context(offline=True).new_page()
    page.add_init_script(KEEP_QUERIES)
    page.goto(Explorable(one_panel).page(tmp_path / "page.html").as_uri())
    until(page, f"{STATE} && {STATE}.draws > 0")
    wide = "document.querySelector('canvas').width"
    before = page.evaluate(wide)
    screen = {"width": 1280, "height": 720, "mobile": False}
    session = page.context.new_cdp_session(page)
    for ratio in (2, 1.5):
        session.send("Emulation.setDeviceMetricsOverride", screen | {"deviceScaleFactor": ratio})
        until(page, f"devicePixelRatio === {ratio}")
        page.evaluate(TELL)
        until(page, f"{wide} === Math.round({before} * {ratio})")
    page.context.close()


def test_the_picture_is_saved(visit, tmp_path) -> None:
    page = visit(accept_downloads=True)
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    assert download.value.suggested_filename == "gallery.png"
    path = tmp_path / "gallery.png"
    download.value.save_as(path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_panels_wrap_and_nothing_overflows(visit) -> None:
    page = visit(viewport={"width": 360, "height": 800})
    lefts = {round(p.bounding_box()["x"]) for p in page.locator(".dt-panel:visible").all()}
    assert len(lefts) == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_paper_follows_the_scheme_and_axe_finds_nothing_serious(visit, scheme) -> None:
    page = visit(color_scheme=scheme)
    light = "getComputedStyle(document.querySelector('.diffteach')).backgroundColor"
    assert (page.evaluate(light) == "rgb(255, 255, 255)") == (scheme == "light")
    page.evaluate("document.head.querySelector('meta[http-equiv]').remove()")
    found = Axe().run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in HARD]
    assert serious == []


HARD = ("serious", "critical")
