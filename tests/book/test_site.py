"""The built site in a browser whose network is cut off: every page, in light and in dark."""

import functools
import http.server
import os
import re
import shutil
import threading
from urllib.parse import urldefrag, urljoin

import pytest

from mli_utils.book.site import CHROMIUM

MEGABYTE = 1e6
LONGEST_WAIT = 20_000  # milliseconds, for a page's scripts
PHONE, DESKTOP = {"width": 390, "height": 900}, {"width": 1280, "height": 900}
AXE = {"resultTypes": ["violations"]}
THEMES = {  # and which of axe-core's rules can find something there: all, then those that depend on what is seen
    "light": AXE,
    "dark": {
        **AXE,
        "runOnly": {"type": "tag", "values": ["cat.color", "cat.text-alternatives"]},
        "rules": {"color-contrast-enhanced": {"enabled": False}},  # AAA, which is off unless its tag is asked for
    },
}

# What axe-core finds serious and not we make, but the theme or what it stands on: the rule, on what, and the cause.
OF_THE_THEME = (
    ("aria-required-children", 'class="citation-list"', "docutils gives a bibliography role=list, its entries no role"),
)

PAGE_FACTS = """() => {
  const main = document.querySelector("main");
  return {
    images: [...main.querySelectorAll("img")].map((one) => [one.src, one.naturalWidth, one.alt]),
    figures: [...main.querySelectorAll("figure img")].map((one) => one.alt),
    links: [...document.querySelectorAll("a[href]")].map((one) => one.href),
    ids: [...document.querySelectorAll("[id]")].map((one) => one.id),
    formulas: main.querySelectorAll(".math").length,
    rendered: main.querySelectorAll(".math mjx-container").length,
    broken: main.querySelectorAll("mjx-merror").length,
    sliders: main.querySelectorAll(".interactive input").length,
    wide: document.documentElement.scrollWidth - window.innerWidth,
  };
}"""


# axe-core takes no contrast of formulas, and as long over them as over all else: the second time they are gone.
WITHOUT_FORMULAS = "() => document.querySelectorAll('mjx-container').forEach((one) => one.remove())"


@pytest.fixture(scope="module")
def window():
    """A browser that reaches this machine only."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not program:
        if os.environ.get("CI") == "true":
            pytest.fail("the site is not tested in a browser: no Chromium here")
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    cut = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=cut)
        yield chromium
        chromium.close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it is asked."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(reproduced):
    """Where the site is served: an address of this machine, which ends with a slash."""
    handler = functools.partial(Quiet, directory=str(reproduced[0] / "_build" / "html"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def pages(reproduced):
    """The address of every page inside the site."""
    site = reproduced[0] / "_build" / "html"
    return sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if "_static" not in path.parts)


def open_page(window, size=DESKTOP):
    """A page of a browser that has never been here: nothing is kept from other visits."""
    return window.new_context(viewport=size).new_page()


def settle(page):
    """Wait until what draws formulas and figures has done so."""
    page.wait_for_function(
        "() => !window.MathJax?.startup?.promise ? !document.querySelector('.math') : "
        "MathJax.startup.promise.then(() => true)",
        timeout=LONGEST_WAIT,
    )
    page.wait_for_function(
        "() => [...document.querySelectorAll('.interactive .plot')].every((one) => one.querySelector('svg'))",
        timeout=LONGEST_WAIT,
    )


@pytest.fixture(scope="module")
def visited(window, address, pages):
    """Of every page: what it holds, what its scripts complained of, what it asked for, and what axe-core finds.

    It is opened as wide as a phone, and then made as wide as a desk.
    """
    from axe_playwright_python.sync_playwright import Axe

    found = {}
    for name in pages:
        page = open_page(window, PHONE)
        errors, asked = [], []
        page.on("console", lambda said, errors=errors: errors.append(said.text))
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.on("requestfailed", lambda request, errors=errors: errors.append(f"failed: {request.url}"))
        page.goto(address + name, wait_until="load")
        settle(page)
        wide = page.evaluate(PAGE_FACTS)["wide"]
        page.set_viewport_size(DESKTOP)
        settle(page)
        facts = page.evaluate(PAGE_FACTS)
        facts.update(wide=wide, errors=list(errors), asked=list(asked))
        for theme, rules in THEMES.items():
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.wait_for_timeout(400)  # colours fade over
            facts[theme] = Axe().run(page, options=rules).response["violations"]
            page.evaluate(WITHOUT_FORMULAS)
        page.context.close()
        found[name] = facts
    return found


def complaints(visited, told):
    """What `told(facts)` says of each page where it says anything, for an assertion to show."""
    return {name: said for name, facts in visited.items() if (said := told(facts))}


def test_every_page_is_there_and_no_script_complains(visited, pages):
    for name in ("index", "made/status", "api", "made/citation", "choices", "search", "notebooks/12_claims"):
        assert f"{name}.html" in pages
    assert not complaints(visited, lambda facts: facts["errors"])


def test_nothing_is_asked_of_another_host(visited, address):
    def elsewhere(facts):
        return [url for url in facts["asked"] if not url.startswith((address, "data:", "blob:"))]

    assert not complaints(visited, elsewhere)


def test_images_are_there_and_figures_are_described(visited):
    assert not complaints(visited, lambda facts: [src for src, width, _ in facts["images"] if not width])
    assert sum(len(facts["figures"]) for facts in visited.values()) > 10

    def undescribed(facts):
        return [alt for alt in facts["figures"] if len(alt) <= 40 or re.search(r"\.(svg|png)$|/", alt.strip())]

    assert not complaints(visited, undescribed)


def test_links_and_anchors_are_alive(visited, address, reproduced):
    site = reproduced[0] / "_build" / "html"

    def dead(name):
        found = []
        for link in visited[name]["links"]:
            url, anchor = urldefrag(urljoin(address + name, link))
            if not url.startswith(address):
                continue
            target = url.removeprefix(address).split("?")[0] or "index.html"
            if not (site / target).exists() or (anchor and target in visited and anchor not in visited[target]["ids"]):
                found.append(link)
        return found

    assert not {name: links for name in visited if (links := dead(name))}


def test_mathematics_is_rendered(visited):
    assert sum(facts["formulas"] for facts in visited.values()) > 50
    assert not complaints(visited, lambda facts: facts["broken"] or facts["rendered"] < facts["formulas"])


def test_no_page_is_wider_than_a_phone(visited):
    assert not complaints(visited, lambda facts: max(facts["wide"], 0))


def test_sliders_move_their_plots(window, address, visited):
    moved = 0
    page = open_page(window)
    for name in [name for name, facts in visited.items() if facts["sliders"]]:
        page.goto(address + name, wait_until="load")
        settle(page)
        for figure in page.locator(".interactive").all():
            for slider in figure.locator("input").all():
                before = figure.locator(".plot").inner_html(), slider.locator("+ output").inner_text()
                if slider.get_attribute("max") == "0":
                    continue
                last = slider.input_value() == slider.get_attribute("max")
                slider.press("ArrowLeft" if last else "ArrowRight")
                page.wait_for_timeout(300)
                after = figure.locator(".plot").inner_html(), slider.locator("+ output").inner_text()
                assert before[0] != after[0] and before[1] != after[1], f"{name}: a slider that moves nothing"
                moved += 1
    page.context.close()
    assert moved >= 4


def test_images_are_told_right_at_the_end_of_the_line(window, address):
    page = open_page(window)
    page.goto(address + "notebooks/05_bias_ablation.html", wait_until="load")
    settle(page)
    figure = page.locator("#one-network-moving")
    figure.locator("input").last.press("End")
    page.wait_for_timeout(300)
    said = figure.locator(".plot .textpoint").all_text_contents()
    page.context.close()
    assert len(said) == 20 and sum("✓" in word for word in said) > 10


def test_search_finds_the_plateau_and_says_when_it_cannot(window, address, reproduced):
    page = open_page(window)
    page.goto(address + "search.html?q=plateau", wait_until="load")
    page.wait_for_selector("#search-results li", timeout=LONGEST_WAIT)
    assert page.locator("#search-results li").count() > 3
    assert page.locator(".opened-as-file").count() == 0
    page.goto((reproduced[0] / "_build" / "html" / "search.html").as_uri(), wait_until="load")
    page.wait_for_selector(".opened-as-file", timeout=LONGEST_WAIT)
    assert "make serve" in page.locator(".opened-as-file").inner_text()
    page.context.close()


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_of_our_making(visited, theme):
    def ours(facts):
        return [
            (rule["id"], node["html"][:200])
            for rule in facts[theme]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
            if not of_the_theme(rule["id"], node)
        ]

    assert not complaints(visited, ours)


def of_the_theme(rule, node):
    """Whether the theme makes what axe-core found on this element."""
    return any(rule == known and re.search(where, node["html"]) for known, where, _ in OF_THE_THEME)


def test_what_the_theme_is_excused_for_is_still_there(visited):
    found = [
        (rule["id"], node["html"])
        for facts in visited.values()
        for theme in THEMES
        for rule in facts[theme]
        for node in rule["nodes"]
    ]
    for rule, where, why in OF_THE_THEME:
        assert any(rule == one and re.search(where, html) for one, html in found), f"no longer needed: {rule}, {why}"


def test_the_site_is_small(window, address, reproduced):
    site = reproduced[0] / "_build" / "html"
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 25 * MEGABYTE
    page, sizes = open_page(window), {}

    def note(response):
        if response.ok:
            sizes[response.url] = len(response.body())

    page.on("requestfinished", lambda request: note(request.response()))
    page.goto(address, wait_until="load")
    settle(page)
    page.context.close()
    assert sum(size for url, size in sizes.items() if "/mathjax/" in url) > MEGABYTE
    late = ("/mathjax/", "/scripts/fontawesome.js")  # nothing waits for formulas and the theme's icons
    assert sum(size for url, size in sizes.items() if not any(part in url for part in late)) < 1.2 * MEGABYTE
