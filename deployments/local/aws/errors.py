"""The error responses of the emulated services."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class AwsError(ServiceException):  # type: ignore[misc]
    """An error with AWS's code and a message: ``AwsError("ResourceInUse", "Job with name ... exists.")``.

    Our own class, because moto derives the service model of an error from the package of its class.
    """
