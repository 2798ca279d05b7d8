"""AWS clients for a person at a terminal: as many attempts as the AWS CLI makes, and a failure within seconds."""

from __future__ import annotations

from dda_core.aws.clients import AwsClients
from dda_core.settings import Settings, load_settings
from dda_core.use_case import UseCase

_AT_A_TERMINAL = {"connect_timeout_seconds": 2.0, "max_attempts": 3, "retry_mode": "standard"}


def interactive_settings() -> Settings:
    """The settings, with short timeouts for AWS where none are set.

    A worker's defaults retry for minutes, which is too long at a terminal.
    """
    settings = load_settings()
    update = {name: value for name, value in _AT_A_TERMINAL.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=update)


def interactive_clients(use_case: UseCase) -> AwsClients:
    """The use case's clients with these settings.

    Raises:
        MissingCredentials, ConfigurationError: there are no credentials, or they cannot be sent in a request.
    """
    return AwsClients(use_case, interactive_settings())
