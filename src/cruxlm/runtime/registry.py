"""Names to things that are imported when they are first asked for."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from cruxlm.runtime.errors import OptionError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Names (and aliases) of one kind of thing, each given as ``"package.module:attribute"``.

    Plug-ins add names through the entry-point group; a built-in name cannot be taken over.
    """

    def __init__(
        self, kind: str, builtin: Mapping[str, str], aliases: Mapping[str, str], group: str
    ) -> None:
        self.kind = kind
        self._builtin = dict(builtin)
        self._aliases = dict(aliases)
        self._group = group

    def _targets(self) -> dict[str, str]:
        plugins = {point.name: point.value for point in entry_points(group=self._group)}
        return {**plugins, **self._builtin}

    def names(self) -> list[str]:
        """Every canonical name: the built-in ones in their order, then the plug-ins."""
        targets = self._targets()
        return [*self._builtin, *sorted(set(targets) - set(self._builtin))]

    def aliases(self) -> dict[str, str]:
        """Other names, and the canonical name of each."""
        return dict(self._aliases)

    def canonical(self, name: str) -> str:
        """The canonical form of a name or alias; an ``OptionError`` with a hint when unknown."""
        resolved = self._aliases.get(name, name)
        targets = self._targets()
        if resolved not in targets:
            hint = did_you_mean(name, [*targets, *self._aliases])
            raise OptionError(f"there is no {self.kind} {name!r}: {hint}")
        return resolved

    def get(self, name: str) -> T:
        """The thing itself, imported now if it was not before; a broken plug-in is named."""
        canonical = self.canonical(name)
        target = self._targets()[canonical]
        module, _, attribute = target.partition(":")
        try:
            found: Any = getattr(import_module(module), attribute)
        except Exception as error:
            if canonical in self._builtin:
                raise
            raise OptionError(
                f"the plug-in {self.kind} {canonical!r} ({target}) cannot be loaded: {error}"
            ) from error
        return found  # type: ignore[no-any-return]
