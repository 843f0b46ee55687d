"""The live examples: what the browser computes against what Keras computed, and what pointer and keys do."""

import json

import pytest
from conftest import SITE

DOCS = SITE.parents[1] / "docs"
GOLDEN = SITE.parents[1] / "tests" / "site" / "golden"
MODELS = sorted(path.stem for path in (DOCS / "live").glob("[0-9]*.js"))
PAGES = {"plane": "10_MNIST_VAE.html", "concepts": "11_CelebA_VAE_concept_vectors.html"}
PAGES |= {"walk": "13_FashionMNIST_DCGAN.html", "sampling": "15_IMDB_text_transformer.html"}
PAGES |= {"guidance": "26_FashionMNIST_flow_matching.html"}
SHOWN = [name for name in PAGES if PAGES[name][:2] in MODELS]
SEEN = """example => [...example.querySelectorAll("canvas[role=img], tbody")]
    .map(part => part.toDataURL ? part.toDataURL() : part.innerHTML).join()"""


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
    answers = page.evaluate(
        """([name, inputs, every]) => {
            const network = live.load(name);
            return inputs.map((arrays) => [...network(...arrays)].filter((_, i) => i % every === 0));
        }""",
        [name, golden["inputs"], golden["every"]],
    )
    expected = [value for row in golden["outputs"] for value in row]
    answered = [value for row in answers for value in row]
    largest = max(abs(one - two) for one, two in zip(expected, answered, strict=True))
    assert len(golden["inputs"]) == 10 and largest <= 1e-3 * (max(expected) - min(expected))


def finished(page, name):
    """Wait for the last step of a garment: its canvases are drawn step by step."""
    if name == "guidance":
        page.wait_for_selector("[data-live=guidance]:not([data-running])")


@pytest.mark.parametrize("language", ["", "ko/"])
@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("width", [390, 1280])
def test_an_example_answers_to_pointer_and_keys(open_page, name, language, width):
    page = open_page(f"file://{SITE / language / PAGES[name]}", width)
    example = page.locator(f"[data-live={name}]")
    example.scroll_into_view_if_needed()
    finished(page, name)
    seen = [example.evaluate(SEEN)]
    control = example.locator("canvas[tabindex], input[type=range]").nth(1 if name == "concepts" else 0)
    control.scroll_into_view_if_needed()
    box = control.bounding_box()
    page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    finished(page, name)
    seen.append(example.evaluate(SEEN))
    control.focus()
    milliseconds = []
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        milliseconds.append(float(example.get_attribute("data-milliseconds")))
    finished(page, name)
    seen.append(example.evaluate(SEEN))
    assert len(set(seen)) == 3, "every touch and key changes the picture"
    assert min(milliseconds) < 100
    assert page.problems == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.skipif("15" not in MODELS, reason="no weights of lesson 15")
def test_sampling_follows_its_sliders_and_grows_the_text(open_page):
    page = open_page(f"file://{SITE / PAGES['sampling']}")
    example = page.locator("[data-live=sampling]")
    temperature, top_k, _ = example.locator("input[type=range]").all()
    shares = "cells => cells.map(cell => parseFloat(cell.style.getPropertyValue('--share')))"
    top_k.fill("3")
    drawn = example.locator("tbody td:last-child").evaluate_all(shares)
    assert sum(drawn) == pytest.approx(100, abs=0.5) and [share > 0 for share in drawn] == [True] * 3 + [False] * 7
    temperature.fill("0")
    assert example.locator("tbody td:last-child").evaluate_all(shares) == [100] + [0] * 9
    likeliest, text = example.locator("tbody th").first.inner_text(), example.locator("output.text")
    example.locator("button").first.click()
    assert text.inner_text().lower().replace(" ", "").endswith(likeliest)
    example.locator("button").last.click()
    assert text.inner_text() == "This film is"


@pytest.mark.skipif("26" not in MODELS, reason="no weights of lesson 26")
def test_guidance_makes_garments_of_the_class_that_is_pressed(open_page):
    page = open_page(f"file://{SITE / PAGES['guidance']}")
    example = page.locator("[data-live=guidance]")
    finished(page, "guidance")
    seen = {example.evaluate(SEEN)}
    for label in (1, 8):
        button = example.locator("[role=group] button").nth(label)
        button.focus()
        page.keyboard.press("Enter")
        finished(page, "guidance")
        seen.add(example.evaluate(SEEN))
        assert button.get_attribute("aria-pressed") == "true"
    assert len(seen) == 3
    assert "t = 1.000" in example.locator("output").inner_text()


@pytest.mark.skipif("26" not in MODELS, reason="no weights of lesson 26")
def test_the_browser_takes_the_way_that_keras_took(open_page):
    """Eight steps of Heun's method with guidance 3, for trousers and for a bag: 30 evaluations."""
    golden = json.loads((GOLDEN / "26.json").read_text(encoding="utf-8"))
    page = open_page("about:blank")
    for script in ("engine", "26", "examples"):
        page.add_script_tag(path=DOCS / "live" / f"{script}.js")
    for (noise, _, _), label, expected in zip(golden["inputs"], (1, 8), golden["ways"], strict=False):
        end = page.evaluate(
            """([noise, label]) => {
                const way = [...live.way(live.guided(live.load("26"), label, 3), Float32Array.from(noise), 8)];
                return [...way.at(-1)[1]];
            }""",
            [noise, label],
        )
        assert max(abs(one - two) for one, two in zip(end, expected, strict=True)) <= 1e-3 * 2
