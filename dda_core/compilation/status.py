"""Where a compilation job stands."""

from __future__ import annotations

from enum import StrEnum


class CompilationStatus(StrEnum):
    """A compilation job's status, normalised once from what the API and EventBridge spell differently."""

    STARTING = "STARTING"
    INPROGRESS = "INPROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"

    @classmethod
    def normalise(cls, text: str) -> CompilationStatus:
        """``Completed``, ``COMPLETED`` and ``InProgress`` as the API spells them.

        Raises:
            ValueError: SageMaker has a status that this pipeline does not know.
        """
        return cls(text.upper().replace("_", ""))

    @property
    def active(self) -> bool:
        """The job works, and can be joined."""
        return self in (CompilationStatus.STARTING, CompilationStatus.INPROGRESS)

    @property
    def ended(self) -> bool:
        """The job's status does not change any more."""
        return self in (CompilationStatus.COMPLETED, CompilationStatus.FAILED, CompilationStatus.STOPPED)
