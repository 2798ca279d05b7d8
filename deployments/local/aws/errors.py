"""The errors that the emulated services answer with."""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class AwsError(ServiceException):  # type: ignore[misc]
    """An error with AWS's code and a message: ``AwsError("ResourceInUse", "Job with name ... exists.")``.

    A class of ours, because moto looks for the service model of an error in the package of its class.
    """
