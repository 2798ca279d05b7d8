"""Loaded once by the fork server; otherwise each process would spend a third of its time on these imports."""

from __future__ import annotations

import ssl
from functools import cache
from typing import Any

import boto3
from botocore.loaders import JSONFileLoader
from moto.core.utils import get_service_model

import tests.crashes.processes  # noqa: F401 - with all that the processes run

load_file = cache(JSONFileLoader().load_file)


def _load_file(loader: JSONFileLoader, path: str) -> Any:
    return load_file(path)


# Prefect's client creates an SSL context each time, and botocore reads its models for each session.
ssl.create_default_context = cache(ssl.create_default_context)
JSONFileLoader.load_file = _load_file
session = boto3.Session("none", "none", region_name="us-east-1")
for service in ("s3", "sagemaker", "greengrassv2", "logs", "iam", "sts"):
    session.client(service)
    get_service_model(service)
