"""The live examples: what the browser computes against what Keras computed, and what pointer and keys do."""

import json

import pytest
from conftest import SITE

DOCS = SITE.parents[1] / "docs"
GOLDEN = SITE.parents[1] / "tests" / "site" / "golden"
MODELS = sorted(path.stem for path in (DOCS / "live").glob("[0-9]*.js"))
PAGES = {"plane": "10_MNIST_VAE.html", "walk": "13_FashionMNIST_DCGAN.html"}
SHOWN = [name for name in PAGES if PAGES[name][:2] in MODELS]
CANVAS = "canvas => canvas.toDataURL()"


def test_some_model_is_live():
    assert MODELS


@pytest.mark.parametrize("name", MODELS)
def test_the_browser_computes_what_keras_computed(open_page, name):
    """Within a thousandth of the range, with the weights as they are stored."""
    assert (DOCS / "live" / f"{name}.js").stat().st_size <= 1_500_000
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    page = open_page("about:blank")
    for script in ("engine", name):
        page.add_script_tag(path=DOCS / "live" / f"{script}.js")
    answers = page.evaluate("([name, inputs]) => inputs.map(x => [...live.load(name)(x)])", [name, golden["inputs"]])
    expected = [value for row in golden["outputs"] for value in row]
    answered = [value for row in answers for value in row]
    largest = max(abs(one - two) for one, two in zip(expected, answered, strict=True))
    assert len(golden["inputs"]) == 10 and largest <= 1e-3 * (max(expected) - min(expected))


@pytest.mark.parametrize("language", ["", "ko/"])
@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("width", [390, 1280])
def test_an_example_answers_to_pointer_and_keys(open_page, name, language, width):
    page = open_page(f"file://{SITE / language / PAGES[name]}", width)
    example = page.locator(f"[data-live={name}]")
    example.scroll_into_view_if_needed()
    picture = example.locator("canvas[role=img]")
    seen = [picture.evaluate(CANVAS)]
    control = example.locator("canvas[tabindex], input").first
    box = control.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    seen.append(picture.evaluate(CANVAS))
    control.focus()
    milliseconds = []
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
        milliseconds.append(float(example.get_attribute("data-milliseconds")))
    seen.append(picture.evaluate(CANVAS))
    assert len(set(seen)) == 3, "every touch and key changes the picture"
    assert min(milliseconds) < 100
    assert page.problems == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
