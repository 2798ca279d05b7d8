"""AWS for a person who waits: as many attempts as the AWS CLI makes, and an end within seconds where none answers."""

from __future__ import annotations

from dda_core.aws.clients import AwsClients
from dda_core.settings import Settings, load_settings
from dda_core.use_case import UseCase

_AT_A_TERMINAL = {"connect_timeout_seconds": 2.0, "max_attempts": 3, "retry_mode": "standard"}


def interactive_settings() -> Settings:
    """The settings, with short waits for AWS where they name none of their own.

    A worker's defaults outlast minutes of trouble, which nobody waits for at a terminal.
    """
    settings = load_settings()
    update = {name: value for name, value in _AT_A_TERMINAL.items() if name not in settings.model_fields_set}
    return settings.model_copy(update=update)


def interactive_clients(use_case: UseCase) -> AwsClients:
    """The use case's clients with these settings.

    Raises:
        MissingCredentials, ConfigurationError: there are no credentials, or such as no request can carry.
    """
    return AwsClients(use_case, interactive_settings())
