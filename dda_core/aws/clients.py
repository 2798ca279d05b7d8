"""The AWS clients of a use case: credentials, Region and retries.

The credentials come from the default chain, or from the use case's role, assumed with its external id through
botocore's refreshable credentials (a run outlasts a session). As with every AWS tool, ``AWS_ENDPOINT_URL`` sets
another endpoint, such as the local AWS.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from dda_core.aws.credentials import check_credentials, log_no_traceback
from dda_core.aws.errors import error_message, is_denied
from dda_core.aws.principals import principal_of
from dda_core.aws.responses import refuse_truncated_responses
from dda_core.exceptions import MissingCredentials, RoleNotAssumable
from dda_core.settings import Settings, load_settings
from dda_core.use_case import UseCase

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sts import STSClient

SESSION_NAME = "dda-pipeline"
IMPATIENT = {"connect_timeout_seconds": 3.0, "read_timeout_seconds": 5.0, "max_attempts": 2, "retry_mode": "standard"}
"""Settings for calls that should fail fast instead of waiting."""


class AwsClients:
    """The AWS clients for a use case, each created on first use. They are thread-safe, their creation is not."""

    def __init__(self, use_case: UseCase, settings: Settings | None = None) -> None:
        self.use_case = use_case
        settings = settings or load_settings()
        self._config = client_config(settings)
        self._session = _session(use_case, self._config)

    def impatient(self) -> AwsClients:
        """Clients with the same credentials that give up within seconds if AWS does not respond."""
        other = AwsClients.__new__(AwsClients)
        other.use_case, other._session = self.use_case, self._session
        other._config = client_config(load_settings().model_copy(update=IMPATIENT))
        return other

    @cached_property
    def s3(self) -> S3Client:
        """Models, packages and compiled archives."""
        # By default botocore signs URLs with an older signature version, which buckets with KMS keys refuse.
        config = self._config.merge(Config(signature_version="s3v4"))
        client: S3Client = self._session.client("s3", config=config)
        return client

    @cached_property
    def sagemaker(self) -> SageMakerClient:
        """Training and compilation jobs."""
        client: SageMakerClient = self._session.client("sagemaker", config=self._config)
        return client

    @cached_property
    def greengrass(self) -> GreengrassV2Client:
        """Components."""
        client: GreengrassV2Client = self._session.client("greengrassv2", config=self._config)
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """The logs of compilation jobs."""
        client: CloudWatchLogsClient = self._session.client("logs", config=self._config)
        return client

    @cached_property
    def sts(self) -> STSClient:
        """The caller's identity."""
        client: STSClient = self._session.client("sts", config=self._config)
        return client

    @cached_property
    def iam(self) -> Any:
        """Roles and their permissions."""
        return self._session.client("iam", config=self._config)

    @cached_property
    def sqs(self) -> Any:
        """Queues of training events."""
        return self._session.client("sqs", config=self._config)

    @cached_property
    def cloudformation(self) -> Any:
        """The webhook's stacks."""
        return self._session.client("cloudformation", config=self._config)

    def before_each_call(self, step: Callable[[str, str], None]) -> None:
        """Run ``step(service, operation)`` before each call and each retry, in the calling thread.

        It may wait, because the call is signed afterwards, and may raise to abort the call. Must be set before the
        first client is created.
        """

        def before_sign(event_name: str, **_: Any) -> None:
            step(*event_name.split(".")[1:])

        self._session.events.register("before-sign", before_sign)

    def credentials_end(self) -> datetime | None:
        """When the current credentials expire; None if they do not, or if that is unknown."""
        credentials = self._session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()  # assumes the role, or refreshes the credentials, if due
        ends = getattr(credentials, "_expiry_time", None)
        return ends if isinstance(ends, datetime) else None


def client_config(settings: Settings) -> Config:
    """botocore's configuration: retries, timeouts, and enough connections for parallel ranges and parts."""
    return Config(
        retries={"mode": settings.retry_mode, "total_max_attempts": settings.max_attempts},
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        max_pool_connections=settings.max_connections,
        user_agent_extra="dda-pipeline",
    )


def default_client(service: str, settings: Settings | None = None) -> Any:
    """A client with the default credential chain, for commands without a use case.

    Raises:
        ConfigurationError: the credentials contain characters that no request can carry.
    """
    session = boto3.Session()
    check_credentials(session.get_credentials())
    refuse_truncated_responses(session)
    return session.client(service, config=client_config(settings or load_settings()))  # type: ignore[call-overload]


def _session(use_case: UseCase, config: Config) -> boto3.Session:
    source = boto3.Session(region_name=use_case.region)
    refuse_truncated_responses(source)
    credentials = source.get_credentials()
    if credentials is None:
        raise MissingCredentials(
            "no AWS credentials were found",
            remedy="Run `aws configure` or `aws sso login`, set AWS_PROFILE, or, for the local AWS, run: "
            'eval "$(dda local env)"',
        )
    check_credentials(credentials)
    if not use_case.cross_account_role_arn:
        return source
    extra = {"RoleSessionName": SESSION_NAME}
    if use_case.external_id:
        extra["ExternalId"] = use_case.external_id.get_secret_value()

    def client_creator(service: str, **kwargs: Any) -> Any:
        return source.client(service, config=config, **kwargs)  # type: ignore[call-overload]

    fetcher = AssumeRoleCredentialFetcher(
        client_creator, credentials, use_case.cross_account_role_arn, extra_args=extra
    )

    def refresh() -> Any:
        try:
            return fetcher.fetch_credentials()
        except ClientError as error:
            # Throttling or expired keys say nothing about the role.
            if not is_denied(error):
                raise
            raise _not_assumable(use_case, source.client("sts", config=config), error) from error

    log_no_traceback()
    core = botocore.session.get_session()
    core._credentials = DeferredRefreshableCredentials(refresh, "assume-role")  # type: ignore[attr-defined]
    session = boto3.Session(botocore_session=core, region_name=use_case.region)
    refuse_truncated_responses(session)
    return session


def _not_assumable(use_case: UseCase, sts: STSClient, error: ClientError) -> RoleNotAssumable:
    """The error that names the role and what its trust policy needs. It does not quote the external id."""
    role = use_case.cross_account_role_arn
    try:
        principal = principal_of(sts.get_caller_identity()["Arn"])
    except (ClientError, BotoCoreError):
        principal = "the caller's role"
    condition = (
        'under the condition {"StringEquals": {"sts:ExternalId": "..."}} with the external id of the use case'
        if use_case.external_id
        else "without asking for an external id, because the use case has none (set external_id if it does)"
    )
    return RoleNotAssumable(
        f"use case {use_case.usecase_id!r}: role {role} cannot be assumed by {principal} ({error_message(error)})",
        role=str(role),
        remedy=f'Let the trust policy of {role} allow sts:AssumeRole for {{"AWS": "{principal}"}} {condition}, and let '
        f"the policy of {principal} allow sts:AssumeRole on {role}.",
    )
