"""The explorer's page in a real browser: buttons, keys, the mouse, and what arrives."""

import io
from urllib.parse import unquote

import devtools
import explorer_picture
import numpy as np
import pytest
from PIL import Image
from serving import get, serving
from tiny_painter import SIZE, K, painter_network, shared_session

from vis.sampler import Sampler

LOADED = "document.querySelector('#picture').naturalWidth > 0"
SETTLED = "!document.body.classList.contains('busy')"


@pytest.fixture(scope="module")
def served():
    with shared_session(), serving(Sampler(painter_network(), batch_size=1)) as running:
        for path in ("image/seed0000.png", "attention/seed0000.f32"):
            get(running, path)  # builds the graphs: not on the browser's time
        yield running


@pytest.fixture(scope="module")
def browser():
    with devtools.open_page() as page:
        yield page


@pytest.fixture
def page(browser, served):
    """The page, freshly opened at seed 5, with no problem so far."""
    _open(browser, served, "seed0005")
    yield browser
    assert browser.problems == []


def _open(page, served, name):
    page.open("about:blank")
    page.wait_for("location.href == 'about:blank'")
    page.problems.clear()
    page.open(f"{served.url}#{name}")
    page.wait_for(f"document.querySelector('#picture') && {LOADED} && {SETTLED}")


def _name(page):
    """The name of the picture that is shown, which the address has to carry too."""
    page.wait_for(SETTLED)
    name = page.value("document.querySelector('#picture').alt")
    assert unquote(page.value("location.hash")) == f"#{name}"
    assert page.value("document.querySelector('#name').textContent") == name
    return name


def _pixels(page):
    """[H, W, 3] of what the picture's element holds."""
    data = page.value(
        "(() => { const image = document.querySelector('#picture');"
        "const canvas = document.createElement('canvas');"
        "canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
        "const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);"
        "return [...context.getImageData(0, 0, canvas.width, canvas.height).data]; })()"
    )
    return np.array(data, np.uint8).reshape(SIZE, SIZE, 4)[..., :3]


def _picture(served, name):
    with Image.open(io.BytesIO(get(served, f"image/{name}.png")[1])) as image:
        return np.asarray(image)


def _attention(served, name):
    _, body, headers = get(served, f"attention/{name}.f32")
    return np.frombuffer(body, "<f4").reshape([int(x) for x in headers["X-Shape"].split(",")])


def test_it_shows_the_picture_of_its_address(page, served):
    assert _name(page) == "seed0005"
    np.testing.assert_array_equal(_pixels(page), _picture(served, "seed0005"))
    style = "getComputedStyle(document.querySelector('#picture'))"
    assert page.value(f"{style}.imageRendering") == "pixelated"
    assert page.value(f"parseFloat({style}.width)") % SIZE == 0  # pixels of one size
    assert "3 latents and a global one" in page.value(
        "document.querySelector('#facts').textContent"
    )


def test_an_address_brings_every_control_back(browser, served):
    name = "seed0007_psi0.5_latent1-17_global-3_mix9-layers0-1,4_noise-none"
    _open(browser, served, name)
    assert _name(browser) == name
    np.testing.assert_array_equal(_pixels(browser), _picture(served, name))
    pressed = "[...document.querySelectorAll('#layers [aria-pressed=true]')].length"
    assert browser.value(pressed) == 3
    assert browser.value("document.querySelector('#seed').value") == "7"
    assert browser.value("document.querySelector('#mix-seed').value") == "9"
    assert browser.value("document.querySelector('#psi').value") == "0.5"
    replaced = "[...document.querySelectorAll('.latent.replaced')].map(x => x.textContent).join()"
    assert browser.value(replaced) == "1latent 1of seed 17,Gglobalof seed 3"
    assert browser.problems == []


@pytest.mark.parametrize(
    "name, line",
    [
        ("seed0005_latent9-1", "this model has the latents 0 to 2, got 9"),
        ("seed%zz", "a picture's name begins with its seed"),
    ],
)
def test_a_bad_address_says_so_and_starts_anew(browser, served, name, line):
    _open(browser, served, name)
    assert line in browser.value("document.querySelector('#toast').textContent")
    assert _name(browser) == "seed0000"


def test_a_latents_own_button_replaces_it_alone(page, served):
    before = _pixels(page)
    page.click("[data-latent=latent2]")
    first = _name(page)
    assert first.startswith("seed0005_latent2-")
    np.testing.assert_array_equal(_pixels(page), _picture(served, first))
    assert (_pixels(page) != before).any()
    page.click("[data-latent=global]")
    second = _name(page)
    assert second.startswith(f"{first}_global-")
    page.click(".latent.replaced .give-back")
    third = _name(page)
    assert third == second.replace(first[8:], "")
    for key, want in (("u", second), ("u", first), ("u", "seed0005"), ("y", first)):
        page.key(key)
        assert _name(page) == want
    page.key("z", ctrl=True)
    assert _name(page) == "seed0005"
    np.testing.assert_array_equal(_pixels(page), before)
    assert page.value("document.querySelector('#undo-button').disabled")


def test_keys(page):
    page.key("ArrowRight")
    assert _name(page) == "seed0006"
    page.key("ArrowLeft")
    page.key("ArrowLeft")
    assert _name(page) == "seed0004"
    page.key("-")
    page.key("-")
    assert _name(page) == "seed0004_psi0.6"
    page.key("u")  # both steps of the slider are one
    assert _name(page) == "seed0004"
    page.key("n")
    assert _name(page) == "seed0004_noise-random"
    page.key("1")
    assert "_latent1-" in _name(page)
    page.key("3")  # is the global latent's place, whose key is G
    assert _name(page).count("-") == 2
    page.key("g")
    assert "_global-" in _name(page)
    page.key("x")
    assert _name(page) == "seed0004_noise-random"
    page.key("?")
    assert page.value("document.querySelector('#help').open")
    page.key("ArrowRight")  # belongs to the dialog
    page.key("?")
    assert not page.value("document.querySelector('#help').open")
    assert _name(page) == "seed0004_noise-random"
    page.key("r")
    assert _name(page) != "seed0004_noise-random"


def test_fields(page):
    page.type("#seed", "1234")
    assert _name(page) == "seed1234"
    page.type("#seed", "seed0003_psi0.5_latent0-8 (1).png")  # a file's name
    page.wait_for("document.querySelector('#seed').value == '3'")
    assert _name(page) == "seed0003_psi0.5_latent0-8"
    page.type("#mix-seed", "77")
    page.click("#layers button:nth-child(2)")
    page.click("#layers button:nth-child(3)")
    assert _name(page) == "seed0003_psi0.5_latent0-8_mix77-layers1-2"
    page.click("#layers button:nth-child(2)")
    assert _name(page) == "seed0003_psi0.5_latent0-8_mix77-layers2"
    page.click("[data-part=fine]")
    assert _name(page) == "seed0003_psi0.5_latent0-8_mix77-layers4-5"
    page.click("[data-part=none]")
    page.click("[data-noise=none]")
    assert _name(page) == "seed0003_psi0.5_latent0-8_noise-none"
    page.type("#mix-seed", "soon")  # is no seed
    assert page.value("document.querySelector('#mix-seed').value") == "77"


def _overlay(page):
    """[H, W, 4]: the overlay's red, green, blue and alpha in the middle of each map's pixel."""
    data = page.value(
        "(() => { const canvas = document.querySelector('#overlay');"
        "const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
        f"const at = i => Math.floor((i + 0.5) * canvas.width / {SIZE});"
        f"const places = [...Array({SIZE * SIZE}).keys()].map("
        f"i => 4 * (at(Math.floor(i / {SIZE})) * canvas.width + at(i % {SIZE})));"
        "return places.flatMap(i => [...all.slice(i, i + 4)]); })()"
    )
    return np.array(data).reshape(SIZE, SIZE, 4)


def test_the_latent_under_the_cursor_is_named_and_its_region_stays_bright(page, served):
    maps = _attention(served, "seed0005")
    owner = maps.argmax(axis=0)
    assert len(np.unique(owner)) > 1
    for latent in np.unique(owner):
        row, column = np.argwhere(owner == latent)[0]
        page.move("#stage", (column + 0.5) / SIZE, (row + 0.5) / SIZE)
        tip = page.value("document.querySelector('#tip').textContent")
        weight = round(100 * float(maps[latent, row, column]))
        assert tip.startswith(f"latent {latent}{weight} %")
        focus = page.value("document.querySelector('.latent.focus .roll').dataset.latent")
        assert focus == f"latent{latent}"
        np.testing.assert_array_equal(_overlay(page)[..., 3] == 0, owner == latent)
    page.move("#seed")
    assert page.value("document.querySelector('#tip').hidden")
    assert not _overlay(page).any()
    page.click("#stage", (column + 0.5) / SIZE, (row + 0.5) / SIZE)  # a new one
    name = _name(page)
    assert name.startswith(f"seed0005_latent{latent}-")
    maps = _attention(served, name)[:, row, column]  # the mouse has not moved
    tip = page.value("document.querySelector('#tip').textContent")
    assert tip.startswith(f"latent {maps.argmax()}{round(100 * float(maps.max()))} %")


def test_regions_have_the_colours_of_the_legend(page, served):
    owner = _attention(served, "seed0005").argmax(axis=0)
    page.click("[data-mode=regions]")
    page.move("#seed")
    colors = page.value("[...document.querySelectorAll('.latent i')].map(x => x.style.background)")
    colors = [[int(x) for x in text[4:-1].split(",")] for text in colors[:K]]
    overlay = _overlay(page)
    assert (overlay[..., 3] == 158).all()  # 0.62
    want = np.array(colors)[owner]
    np.testing.assert_allclose(overlay[..., :3], want, atol=2)  # kept premultiplied
    page.click("[data-mode=mixture]")
    mixture = _overlay(page)
    assert (mixture[..., 3] == 158).all() and (mixture != overlay).any()
    page.click("[data-mode=off]")
    assert not _overlay(page).any()


def test_layers_of_attention(page):
    asked = "performance.getEntriesByType('resource').map(x => x.name).join(' ')"
    assert "seed0005.f32?layer=1&" in page.value(asked)
    page.click("#maps button:nth-child(1)")
    page.wait_for(SETTLED)
    assert "seed0005.f32?layer=0&" in page.value(asked)
    assert page.value("document.querySelectorAll('#maps [aria-pressed=true]').length") == 1
    images = "[...document.querySelectorAll('#maps i')].map(x => x.style.backgroundImage).join()"
    assert page.value(images).count("regions/seed0005.png") == 2


def test_save_buttons_download_the_picture_and_its_latents(page, served, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.click("[data-latent=latent1]")
    name = _name(page)
    page.click("#save-link")
    page.key("l")
    want = {kind: tmp_path / f"{name}.{kind}" for kind in ("png", "npz")}
    devtools.wait_until(lambda: all(path.is_file() for path in want.values()))
    assert want["png"].read_bytes() == get(served, f"image/{name}.png")[1]
    with np.load(str(want["npz"])) as arrays:
        assert arrays["ws"].shape[:2] == (1, K + 1) and arrays["name"].tolist() == [name]


def test_the_documentations_picture(browser, served, root, tmp_path):
    explorer_picture.take(browser, f"{served.url}#seed0005_latent1-3", tmp_path / "a.png")
    browser.set_size(1280, 860)
    size = explorer_picture.SIZE
    with Image.open(tmp_path / "a.png") as taken:
        pixels = np.asarray(taken.convert("RGB"))
    assert pixels.shape == (size[1], size[0], 3)
    stage = pixels[60:560:16, 48:548:16].reshape(-1, 3)
    assert len(np.unique(stage, axis=0)) > 8  # a picture, not an empty frame
    path = root / "docs" / "images" / "explorer.png"
    assert path.stat().st_size < explorer_picture.MAX_BYTES
    with Image.open(path) as committed:
        assert committed.size == size


def test_both_schemes_and_a_narrow_window(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    page.set_scheme("light")
    light = page.value(ground)
    page.set_scheme("dark")
    assert light == "rgb(244, 244, 241)" and page.value(ground) == "rgb(18, 19, 22)"
    page.set_size(420, 800)
    page.wait_for("document.documentElement.scrollWidth <= 420")
    buttons = "[...document.querySelectorAll('main button:not(#maps button)')]"
    right = f"Math.max(...{buttons}.map(x => x.getBoundingClientRect().right))"
    assert page.value(right) <= 420 - 24
    page.set_size(1280, 860)


def test_without_attention_its_parts_are_hidden(browser, served):
    class Plain:  # what a StyleGAN2 network looks like from here
        def __init__(self, explorer):
            self.explorer = explorer

        def facts(self):
            one = dict(latents=["latent0"], colors=[], attention=[])
            return {**self.explorer.facts(), **one}

        def __getattr__(self, name):
            return getattr(self.explorer, name)

    explorer = served.explorer
    served.explorer = Plain(explorer)
    try:
        _open(browser, served, "seed0005")
        hidden = "['attention', 'latents-block'].every(id => document.getElementById(id).hidden)"
        assert browser.value(hidden)
        browser.key("0")
        browser.key("g")
        browser.key("a")
        assert _name(browser) == "seed0005"
        browser.move("#stage")
        assert browser.value("document.querySelector('#tip').hidden")
        browser.key("ArrowRight")
        assert _name(browser) == "seed0006"
        asked = browser.value("performance.getEntriesByType('resource').map(x => x.name).join(' ')")
        assert "attention/" not in asked and "regions/" not in asked
        assert browser.problems == []
    finally:
        served.explorer = explorer


def test_what_goes_wrong_is_said_on_the_page(page, served, monkeypatch):
    def fail(state):
        raise ValueError("the network has no mind to")

    monkeypatch.setattr(served.explorer, "picture", fail)
    page.key("ArrowRight")
    page.wait_for("document.querySelector('#toast').textContent == 'the network has no mind to'")
    monkeypatch.undo()
    page.key("ArrowLeft")
    page.key("ArrowRight")
    assert _name(page) == "seed0006"
    assert all("500" in problem for problem in page.problems)
    page.problems.clear()
