"""What switching a use case to another fleet would change, computed without AWS calls."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from dda_core.exceptions import TargetUnavailable
from dda_core.fleets import find_fleet
from dda_core.targets import CompilationTarget
from dda_core.use_case import UseCase

Recipe = Callable[[UseCase, CompilationTarget], dict[str, Any]]


class TargetChange(BaseModel):
    """What changes for one target.

    Attributes:
        before, after: its LocalServer component; None if the fleet has none.
        refused: why it has none afterwards, and what to do.
        diff: the recipe's lines as a unified diff; empty if it does not change.
    """

    model_config = ConfigDict(frozen=True)

    before: str | None
    after: str | None
    refused: str | None = None
    diff: tuple[str, ...] = ()


class FleetChanges(BaseModel):
    """What changes when a use case moves from the fleet ``before`` to the fleet ``after``.

    ``added`` and ``removed`` are changes to the default targets.
    """

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    targets: dict[str, TargetChange] = {}

    def sentence(self) -> str:
        """Everything except the recipes, in one line."""
        parts = []
        if self.added:
            parts.append(f"added to the default targets: {', '.join(self.added)}")
        if self.removed:
            parts.append(f"removed from the default targets: {', '.join(self.removed)}")
        parts += [
            f"LocalServer of {name}: {change.before or 'none'} becomes {change.after or 'none'}"
            for name, change in self.targets.items()
            if change.before != change.after
        ]
        return f"{self.before} becomes {self.after}" + (f" ({'; '.join(parts)})" if parts else "")


def fleet_changes(
    use_case: UseCase, fleet: str, targets: Iterable[CompilationTarget] = (), *, recipe: Recipe | None = None
) -> FleetChanges:
    """What the use case would publish differently on that fleet.

    Args:
        use_case: with its current fleet.
        fleet: the name of the other preset.
        targets: those to compare; if empty, the default targets of both.
        recipe: builds a target's recipe for a use case; without it recipes are not compared.

    Raises:
        UnknownFleet: there is no such preset.
    """
    # Not validated again: targets that the devices could not run there are part of the result.
    moved = use_case.model_copy(update={"fleet": find_fleet(fleet).name})
    before, after = use_case.default_targets(), moved.default_targets()
    compared = tuple(targets) or tuple(dict.fromkeys((*before, *after)))
    return FleetChanges(
        before=use_case.preset.name,
        after=moved.preset.name,
        added=tuple(target.name for target in after if target not in before),
        removed=tuple(target.name for target in before if target not in after),
        targets={target.name: _target_change(use_case, moved, target, recipe) for target in compared},
    )


def _target_change(use_case: UseCase, moved: UseCase, target: CompilationTarget, recipe: Recipe | None) -> TargetChange:
    (before, _), (after, refused) = _localserver(use_case, target), _localserver(moved, target)
    diff: tuple[str, ...] = ()
    if recipe is not None:
        old, new = (
            json.dumps(recipe(each, target), indent=2).splitlines() if localserver else []
            for each, localserver in ((use_case, before), (moved, after))
        )
        diff = tuple(difflib.unified_diff(old, new, use_case.preset.name, moved.preset.name, lineterm=""))
    return TargetChange(before=before, after=after, refused=refused, diff=diff)


def _localserver(use_case: UseCase, target: CompilationTarget) -> tuple[str | None, str | None]:
    """The LocalServer component, or None and the reason."""
    try:
        return use_case.localserver_for(target), None
    except TargetUnavailable as refused:
        return None, f"{refused.reason}. {refused.remedy}"
