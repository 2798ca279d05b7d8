from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.credentials
import pytest

from dda_core.archives.source import S3Source
from dda_core.aws.clients import AwsClients
from dda_core.exceptions import MissingCredentials, RoleNotAssumable
from dda_core.settings import Settings
from dda_core.use_case import UseCase
from deployments.local.aws import local_aws
from deployments.local.aws.local import LocalAws

ACCOUNT = "123456789012"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "factory-seven"}},
        }
    ],
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    with local_aws() as local:
        monkeypatch.setenv("AWS_ENDPOINT_URL", local.endpoint_url)
        local.client("iam").create_role(RoleName="dda", AssumeRolePolicyDocument=json.dumps(TRUST))
        yield local


def use_case(aws: LocalAws, **more: str) -> UseCase:
    return UseCase(usecase_id="lids", account_id=ACCOUNT, region="us-east-1", s3_bucket=aws.bucket, **more)


def assuming(aws: LocalAws, external_id: str) -> AwsClients:
    role = f"arn:aws:iam::{ACCOUNT}:role/dda"
    return AwsClients(use_case(aws, cross_account_role_arn=role, external_id=external_id))


def test_without_a_role_the_default_chain_is_used(aws: LocalAws):
    AwsClients(use_case(aws)).s3.put_object(Bucket=aws.bucket, Key="a", Body=b"x")
    assert aws.calls["sts:AssumeRole"] == 0
    assert aws.client("s3").head_object(Bucket=aws.bucket, Key="a")["ContentLength"] == 1


def test_the_role_is_assumed_once_for_all_clients(aws: LocalAws):
    clients = assuming(aws, "factory-seven")
    clients.s3.list_objects_v2(Bucket=aws.bucket)
    clients.sagemaker.list_training_jobs()
    clients.greengrass.list_components()
    assert aws.calls["sts:AssumeRole"] == 1
    ends = clients.credentials_end()
    assert ends is not None
    assert ends > datetime.now(UTC)


def test_an_expiring_session_is_renewed(aws: LocalAws, monkeypatch: pytest.MonkeyPatch):
    clients = assuming(aws, "factory-seven")
    clients.s3.list_objects_v2(Bucket=aws.bucket)
    credentials: Any = clients._session.get_credentials()
    first = credentials.get_frozen_credentials()

    def in_50_minutes() -> datetime:
        return datetime.now(UTC) + timedelta(minutes=50)

    monkeypatch.setattr(botocore.credentials, "_local_now", in_50_minutes)
    monkeypatch.setattr(credentials, "_time_fetcher", in_50_minutes)
    clients.s3.list_objects_v2(Bucket=aws.bucket)
    assert aws.calls["sts:AssumeRole"] == 2
    assert credentials.get_frozen_credentials().token != first.token


def test_a_wrong_external_id_is_named_by_use_case_and_role_but_not_quoted(aws: LocalAws):
    clients = assuming(aws, "factory-eight")
    with pytest.raises(RoleNotAssumable) as refused:
        S3Source(clients.s3, aws.bucket, "a")
    message = str(refused.value)
    assert "use case 'lids'" in message
    assert f"arn:aws:iam::{ACCOUNT}:role/dda" in message
    assert "factory-eight" not in message
    assert refused.value.exit_code == 3


def test_missing_credentials_are_an_error(aws: LocalAws, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(MissingCredentials, match="aws sso login"):
        AwsClients(use_case(aws))


def test_the_settings_reach_every_client(aws: LocalAws):
    settings = Settings(retry_mode="standard", max_attempts=3, max_connections=77, read_timeout_seconds=5)
    clients = AwsClients(use_case(aws), settings)
    for client in (clients.s3, clients.sagemaker, clients.greengrass, clients.logs):
        config = client.meta.config
        assert config.retries["mode"] == "standard"
        assert config.retries["total_max_attempts"] == 3
        assert (config.max_pool_connections, config.read_timeout) == (77, 5)
        assert client.meta.region_name == "us-east-1"
