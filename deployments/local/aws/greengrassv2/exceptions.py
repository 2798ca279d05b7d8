"""The errors of AWS IoT Greengrass V2, one class per code of its service model."""

from __future__ import annotations

from deployments.local.aws.errors import AwsError


class ValidationException(AwsError):
    """400: the request is not valid."""

    code = "ValidationException"
    reason = "OTHER"


class AccessDeniedException(AwsError):
    """403: not authorized, or a recipe that cannot be parsed."""

    code = "AccessDeniedException"


class ResourceNotFoundException(AwsError):
    """404: there is no such component, device or deployment."""

    code = "ResourceNotFoundException"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} [{name}] was not found. Please try again with a valid {kind.lower()}.")
        self.resourceId = name
        self.resourceType = kind


class ConflictException(AwsError):
    """409: the component version already exists, or the resource is in a conflicting state."""

    code = "ConflictException"

    def __init__(self, kind: str, name: str, message: str) -> None:
        super().__init__(message)
        self.resourceId = name
        self.resourceType = kind


class ThrottlingException(AwsError):
    """429: more than one CreateComponentVersion per second and Region."""

    code = "ThrottlingException"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.serviceCode = "greengrass"
        self.quotaCode = "CreateComponentVersion"
        self.retryAfterSeconds = retry_after_seconds
