"""Models and examples that most tests of evaluators need."""

from typing import Any

import pytest

from cruxlm.evaluate.examples import Example
from evaluate.tiny_models import ARCHITECTURES, built, drawn


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Any:
    """A model of each architecture."""
    return built(request.param)


@pytest.fixture
def tiny() -> Any:
    """A Llama of its own for each test."""
    return built("Llama")


@pytest.fixture
def examples() -> list[Example]:
    return drawn(11)
