"""One browser for all tests of the page; they are skipped where there is none."""

import shutil

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium here: the page is not tested in a browser")
    with driver.sync_playwright() as play:
        made = play.chromium.launch(executable_path=path, args=FLAGS.split())
        yield made
        made.close()


@pytest.fixture
def opened(browser):
    """opened(address or path, width=, scheme=): the page in a window of its own; a script that fails fails the test."""
    contexts, problems = [], []

    def visit(address, *, width=1280, scheme="light"):
        if "://" not in str(address):
            address = f"file://{address}"
        context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.asked, page.problems = [], problems
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(str(address))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not problems
