"""Headless Chromium for the tests of pages: one for each process."""

import pytest

from chromium import CHROMIUM, MISSING, Chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip(MISSING)
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens HTML as a file of its own; see ``Chromium.open``."""
    pages = []

    def opens(html, **how):
        file = tmp_path / f"page-{len(pages)}.html"
        file.write_bytes(html.encode("utf-8", "backslashreplace"))
        pages.append(chromium.open(file, **how))
        return pages[-1]

    yield opens
    for page in pages:
        page.close()
