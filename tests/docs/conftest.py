"""The package as a wheel, and an environment to install it into."""

import pytest

from docs.consoles import bare_environment, built_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package, built as a wheel."""
    pytest.importorskip("hatchling", reason="the wheel is built with hatchling, of the extra dev")
    return built_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def binaries(tmp_path_factory):
    """The binaries of an environment with all that Crux needs, and without Crux."""
    return bare_environment(tmp_path_factory.mktemp("empty") / "venv")
