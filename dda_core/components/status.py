"""The states of a component version."""

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
    def in_progress(self) -> bool:
        """The version may still become DEPLOYABLE."""
        return self in (ComponentState.REQUESTED, ComponentState.INITIATED)
