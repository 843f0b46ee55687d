"""The site in a real browser: every page in both languages, from a folder and from a server, wide and narrow."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SITE

PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if path.name != "404.html")
NOTES = sorted(path.stem for path in (SITE.parents[1] / "docs").glob("[0-9][0-9]_*.md") if "." not in path.stem)

LIVE = [page for page in PAGES if not page.startswith("ko/") and "data-live=" in (SITE / page).read_text("utf-8")]


class Links(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.pictures, self.places = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]
        self.pictures += [attributes] if tag == "img" else []


READ = {page: Links(SITE / page) for page in PAGES}


def test_every_note_has_a_page_in_both_languages():
    assert len(NOTES) > 15
    assert {f"{note}.html" for note in NOTES} | {f"ko/{note}.html" for note in NOTES} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_of_a_page_exists(page):
    for link in READ[page].links:
        address, place = urldefrag(link)
        if re.match(r"[a-z]+:", address):
            continue
        target = (SITE / page).parent / unquote(address) if address else SITE / page
        target = target / "index.html" if target.is_dir() else target
        assert target.is_file(), link
        if place and target.suffix == ".html" and place != "__skip":
            assert unquote(place) in READ[target.resolve().relative_to(SITE.resolve()).as_posix()].places, link


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_of_a_page_has_an_alternative_text(page):
    assert all(picture.get("alt") for picture in READ[page].pictures)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_from_a_folder(open_page, page):
    opened = open_page(f"file://{SITE / page}")
    for width in (1280, 390):
        opened.set_viewport_size({"width": width, "height": 900})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width, "nothing is wider than the screen"
    assert opened.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)") == []
    assert "$" not in "".join(opened.locator("article p:not(:has(code))").all_inner_texts()), "formulas are drawn"
    opened.wait_for_timeout(100)
    assert opened.problems == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_from_a_server(open_page, server, page):
    opened = open_page(f"{server}/{page}")
    opened.wait_for_timeout(100)
    assert opened.problems == []


@pytest.mark.parametrize("page", ["10_MNIST_VAE.html", "26_FashionMNIST_flow_matching.html"])
def test_the_switch_of_language_leads_to_the_same_page(open_page, page):
    opened = open_page(f"file://{SITE / page}")
    for language, address in (("ko", f"ko/{page}"), ("en", page)):
        opened.goto("file://" + str(SITE / (page if language == "ko" else f"ko/{page}")))
        target = opened.locator(f".md-select__link[hreflang={language}]").evaluate("link => link.href")
        assert target == f"file://{SITE / address}"


@pytest.mark.parametrize("word, page", [("Jensen", "10_MNIST_VAE.html"), ("화풍", "ko/17_VGG19_style_transfer.html")])
def test_the_search_finds_without_a_server(open_page, word, page):
    opened = open_page(f"file://{SITE / page}")
    opened.locator(".md-search__input").click()
    opened.keyboard.type(word)
    opened.keyboard.press("End")  # Korean is typed without a key event, and the search listens to keys
    opened.locator(".md-search-result__link").first.wait_for(timeout=10_000)
    assert opened.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["index.html", "ko/index.html", *LIVE, "ko/10_MNIST_VAE.html"])
def test_accessible_by_the_rules_of_axe(browser, page, scheme):
    context = browser.new_context(color_scheme=scheme)
    opened = context.new_page()
    opened.goto(f"file://{SITE / page}")
    found = Axe().run(opened).response["violations"]
    context.close()
    serious = [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found]
    assert [each for each in serious if each[0] in RULES] == []


RULES = {"color-contrast", "image-alt", "label", "link-name", "button-name", "html-has-lang", "aria-required-attr"}
RULES |= {"aria-valid-attr-value", "duplicate-id-aria", "document-title", "tabindex", "scrollable-region-focusable"}
