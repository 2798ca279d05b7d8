"""Where a component version stands."""

from __future__ import annotations

from enum import StrEnum


class ComponentState(StrEnum):
    """A component version's state in AWS IoT Greengrass."""

    REQUESTED = "REQUESTED"
    INITIATED = "INITIATED"
    DEPLOYABLE = "DEPLOYABLE"
    FAILED = "FAILED"
    DEPRECATED = "DEPRECATED"

    @property
    def on_its_way(self) -> bool:
        """The version may still become DEPLOYABLE."""
        return self in (ComponentState.REQUESTED, ComponentState.INITIATED)
