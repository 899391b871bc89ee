"""Names: hints for unknown ones, aliases, and plug-ins that other packages bring."""

from importlib.metadata import EntryPoint

import pytest

from cruxlm.runtime import registry as registry_module
from cruxlm.runtime.errors import OptionError
from cruxlm.runtime.registry import Registry

GROUP = "cruxlm.things"


@pytest.fixture
def registry():
    return Registry(
        "thing", {"pi": "math:pi", "tau": "math:tau"}, aliases={"circle": "tau"}, group=GROUP
    )


@pytest.fixture
def plugins(monkeypatch):
    def install(**targets):
        points = [EntryPoint(name, value, GROUP) for name, value in targets.items()]

        def entry_points(*, group):
            return [point for point in points if point.group == group]

        monkeypatch.setattr(registry_module, "entry_points", entry_points)

    return install


def test_a_thing_is_found_by_name_and_by_alias(registry):
    assert registry.get("pi") == pytest.approx(3.14159, abs=1e-4)
    assert registry.canonical("circle") == "tau"
    assert registry.get("circle") == registry.get("tau")
    assert registry.names() == ["pi", "tau"]


def test_an_unknown_name_gets_a_hint(registry):
    with pytest.raises(OptionError, match=r"there is no thing 'ciircle': did you mean 'circle'\?"):
        registry.get("ciircle")
    with pytest.raises(OptionError, match="known: circle, pi, tau"):
        registry.canonical("zzz")


def test_nothing_is_imported_before_it_is_asked_for():
    absent = Registry("thing", {"here": "math:e", "gone": "no_such_module:x"}, {}, GROUP)
    assert absent.names() == ["here", "gone"]
    assert absent.canonical("gone") == "gone"
    with pytest.raises(ModuleNotFoundError):  # a built-in that is not there is a bug
        absent.get("gone")


def test_plugins_come_after_the_builtin_ones(registry, plugins):
    plugins(zeta="math:inf", euler="math:e")
    assert registry.names() == ["pi", "tau", "euler", "zeta"]
    assert registry.get("euler") == pytest.approx(2.71828, abs=1e-4)
    with pytest.raises(OptionError, match="did you mean 'euler'"):
        registry.get("eulr")


def test_a_plugin_cannot_take_a_builtin_name(registry, plugins):
    plugins(pi="math:e")
    assert registry.get("pi") == pytest.approx(3.14159, abs=1e-4)
    assert registry.names() == ["pi", "tau"]


@pytest.mark.parametrize("target", ["no_such_module:x", "math:absent", "math"])
def test_a_broken_plugin_is_named(registry, plugins, target):
    plugins(mine=target)
    with pytest.raises(OptionError, match=rf"the plug-in thing 'mine' \({target}\) cannot be load"):
        registry.get("mine")
