"""What is planted: `Plant`, a wrong version instead of a right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

FACTOR = 1.001
Wrong = Callable[[Callable[..., Any]], Callable[..., Any]]


def times(factor: float) -> Wrong:
    """The right result times a factor."""
    return lambda right: lambda *args, **kwargs: factor * right(*args, **kwargs)


@dataclass(frozen=True)
class Plant:
    """A wrong version of `owner.name`, and the rows, or patterns of rows, that must all reject it."""

    error: str
    owner: Any
    name: str
    wrong: Wrong
    rejected_by: tuple[str, ...]

    def planted(self) -> Any:
        """What stands at the place now."""
        return getattr(self.owner, self.name)

    def where(self) -> str:
        """The place, as module.name."""
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.name}"

    def into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the right version by the wrong one."""
        monkeypatch.setattr(self.owner, self.name, self.wrong(self.planted()))
