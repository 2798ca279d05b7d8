"""Properties of the feature ``compilation-job-visibility`` for logs, links and devices."""

from __future__ import annotations

import itertools
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dda_core.archives.download import presign
from dda_core.aws.clients import AwsClients
from dda_core.compilation.logs import LOG_GROUP, log_tail, read_log, read_saved_log, save_log
from dda_core.components.devices import Spacing, installed_versions
from dda_core.exceptions import UsageError
from dda_core.pages.devices import DeviceSurvey, component_page
from dda_core.sanitise import sanitise
from dda_core.use_case import UseCase
from deployments.cli.artifacts import duration
from deployments.local.aws import LocalAws, local_aws
from deployments.local.aws.control import DEFAULT_ACCOUNT_ID
from deployments.local.aws.greengrassv2 import greengrassv2_backends

EXAMPLES = 100
QUICK = Spacing(1e9)


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    """One embedded AWS for all examples; each uses its own names, or first deletes what it counts."""
    with pytest.MonkeyPatch.context() as patch, local_aws() as aws:
        for name, value in aws.environ.items():
            patch.setenv(name, value)
        aws.client("logs").create_log_group(logGroupName=LOG_GROUP)
        yield aws


@pytest.fixture(scope="module")
def clients(aws: LocalAws) -> AwsClients:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environ.items():
            patch.setenv(name, value)
        made = AwsClients(
            UseCase(usecase_id="local", account_id="123456789012", region="us-east-1", s3_bucket=aws.bucket)
        )
        # Clients are created on first use, when the test's environment no longer points here.
        for client in (made.s3, made.greengrass, made.logs):
            assert client.meta.endpoint_url == aws.endpoint_url
    return made


# --- Download links ---------------------------------------------------------------------------------------------------

keys = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1)


@settings(max_examples=EXAMPLES, deadline=None)
@given(key=keys, content=st.binary(max_size=64), seconds=st.integers(1, 12 * 3600))
def test_a_link_fetches_its_object_until_it_expires(
    aws: LocalAws, clients: AwsClients, key: str, content: bytes, seconds: int
) -> None:
    """**Feature: compilation-job-visibility, Property 14: Download links**

    Whatever the object's name, its link returns exactly its bytes without credentials, and is valid for the requested
    time, which it states.
    """
    assume(key not in (".", ".."))
    key = f"links/{key}"
    aws.client("s3").put_object(Bucket=aws.bucket, Key=key, Body=content)
    made = presign(clients, f"s3://{aws.bucket}/{key}", timedelta(seconds=seconds))
    with urllib.request.urlopen(made.url) as answer:
        assert answer.read() == content
    assert parse_qs(urlsplit(made.url).query)["X-Amz-Expires"] == [str(seconds)]
    assert abs((made.expires - datetime.now(UTC)).total_seconds() - seconds) < 30


@settings(max_examples=EXAMPLES)
@given(number=st.integers(0, 10**6), unit=st.sampled_from("smh"))
def test_durations_over_twelve_hours_are_refused(number: int, unit: str) -> None:
    """**Feature: compilation-job-visibility, Property 14: Download links**

    A duration on the command line is accepted exactly if it is above zero and at most twelve hours.
    """
    seconds = number * {"s": 1, "m": 60, "h": 3600}[unit]
    if 0 < seconds <= 12 * 3600:
        assert duration(f"{number}{unit}").total_seconds() == seconds
    else:
        with pytest.raises(UsageError, match="12h"):
            duration(f"{number}{unit}")


# --- Devices ----------------------------------------------------------------------------------------------------------

names = st.sampled_from(["model-a", "model-a-arm64-cpu", "model-b", "aws.greengrass.Nucleus", "com.example.model-c"])
versions = st.builds(lambda major: f"{major}.0.0", st.integers(1, 12))
states = st.sampled_from(["RUNNING", "BROKEN", "ERRORED", "INSTALLED", "FINISHED"])
fleets = st.dictionaries(
    st.from_regex(r"[a-zA-Z0-9:_-]{1,12}", fullmatch=True),
    st.dictionaries(names, st.tuples(versions, states, st.booleans()), max_size=5),
    max_size=5,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(fleet=fleets)
def test_each_device_counts_once_per_model_component(
    aws: LocalAws, clients: AwsClients, fleet: dict[str, dict[str, tuple[str, str, bool]]]
) -> None:
    """**Feature: compilation-job-visibility, Property 19: Devices**

    For any fleet, exactly the model components are listed, each version with exactly the devices that have it, as root
    component or dependency, and their number. The component's page shows the same.
    """
    greengrassv2_backends[DEFAULT_ACCOUNT_ID]["us-east-1"].devices.clear()
    for thing, installed in fleet.items():
        aws.add_device(
            thing=thing,
            installed=[
                {"name": name, "version": version, "state": state, "root": root}
                for name, (version, state, root) in installed.items()
            ],
        )
    found = installed_versions(clients.greengrass, QUICK)
    expected = {
        (name, version, thing, state)
        for thing, installed in fleet.items()
        for name, (version, state, _) in installed.items()
        if name.startswith("model-")
    }
    listed = [(each.component, each.version, d.thing, d.state) for each in found for d in each.devices]
    assert set(listed) == expected
    assert len(listed) == len(expected)
    assert all(each.count == len(each.devices) for each in found)
    order = [(each.component, -int(each.version.split(".")[0])) for each in found]
    assert order == sorted(order)
    survey = DeviceSurvey(use_case="local", region="us-east-1", versions=tuple(found))
    for component in survey.names:
        page = component_page(component, [survey], datetime.now(UTC))
        for each in found:
            if each.component == component:
                assert f"[{each.version}](" in page
                assert f" | {each.count} |" in page


# --- Logs -------------------------------------------------------------------------------------------------------------

_numbers = itertools.count()
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=60)
streams = st.lists(
    st.tuples(
        st.sampled_from(["", "/model-info-extraction", "/b", "0", "-2", "x/y"]),
        st.lists(st.tuples(st.integers(0, 5000), texts), max_size=6),
    ),
    max_size=4,
    unique_by=lambda each: each[0],
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(written=streams)
def test_a_log_is_all_lines_of_the_jobs_own_streams(
    aws: LocalAws, clients: AwsClients, written: list[tuple[str, list[tuple[int, str]]]]
) -> None:
    """**Feature: compilation-job-visibility, Property 21: Logs**

    Every event of every stream of the job is read once, in order of time, and none of a job whose name only starts the
    same; the saved log reads back the same, except for masked secrets.
    """
    job = f"lid-{next(_numbers)}-job"
    base = int(time.time() * 1000) - 10_000
    logs = aws.client("logs")
    own: Counter[tuple[str, int, str]] = Counter()
    for suffix, events in written:
        stream = f"{job}{suffix}"
        logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
        rows: list[Any] = [{"timestamp": base + at, "message": text} for at, text in sorted(events)]
        if rows:
            logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=rows)
        if suffix == "" or suffix.startswith("/"):
            own.update((stream, row["timestamp"], row["message"]) for row in rows)
    lines = read_log(clients.logs, job)
    assert Counter((line.stream, round(line.at.timestamp() * 1000), line.text) for line in lines) == own
    assert [line.at for line in lines] == sorted(line.at for line in lines)

    uri = save_log(clients.logs, clients.s3, job, f"s3://{aws.bucket}/logs/{job}/x.tar.gz")
    if not lines:
        assert uri is None
        return
    assert uri == f"s3://{aws.bucket}/logs/{job}/{job}.log"
    saved = read_saved_log(clients.s3, uri)
    shown = [sanitise(line.text.rstrip("\r\n"), mask_accounts=True) for line in lines]
    assert [(line.stream, line.at, line.text) for line in saved] == [
        (line.stream, line.at, text) for line, text in zip(lines, shown, strict=True)
    ]
    assert list(log_tail(lines, 5)) == [row for text in shown[-5:] for row in text.splitlines()][-5:]
