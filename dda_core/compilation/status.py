"""The statuses of a compilation job."""

from __future__ import annotations

from enum import StrEnum


class CompilationStatus(StrEnum):
    """A compilation job's status; the API and EventBridge spell it differently."""

    STARTING = "STARTING"
    INPROGRESS = "INPROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"

    @classmethod
    def normalise(cls, text: str) -> CompilationStatus:
        """The status for any spelling, such as ``Completed``, ``COMPLETED``, ``InProgress`` or ``IN_PROGRESS``.

        Raises:
            ValueError: the status is unknown.
        """
        return cls(text.upper().replace("_", ""))

    @property
    def active(self) -> bool:
        """The job is in progress and can be joined."""
        return self in (CompilationStatus.STARTING, CompilationStatus.INPROGRESS)

    @property
    def ended(self) -> bool:
        """The status is final."""
        return self in (CompilationStatus.COMPLETED, CompilationStatus.FAILED, CompilationStatus.STOPPED)
