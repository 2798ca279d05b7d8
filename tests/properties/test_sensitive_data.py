"""The pipeline writes no secrets: they are fed through every path and searched for in the output."""

from __future__ import annotations

import asyncio
import json
import logging
import string
import traceback
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core import sanitised_logs
from dda_core.archives.download import DownloadLink, Product
from dda_core.compilation.logs import LogLine, log_tail, sanitised
from dda_core.components.devices import DeviceEntry, InstalledVersion
from dda_core.exceptions import CompilationFailed, PublishFailed
from dda_core.pages.devices import DeviceSurvey, component_page
from dda_core.runs.history import CompilationFacts
from dda_core.runs.ledger import Installable, Ledger
from dda_core.sanitise import remember_secret
from dda_core.sanitised_errors import without_secrets
from flows.outcome import end_state, note_failure
from tasks.operations.download_links import MadeLink, links_page
from tasks.store.record import RecordWriter

EXAMPLES = 100
AT = datetime(2026, 1, 2, tzinfo=UTC)

letters, digits = string.ascii_uppercase, string.digits


def drawn(alphabet: str, size: int) -> st.SearchStrategy[str]:
    """Random words of that many characters."""
    return st.text(alphabet, min_size=size, max_size=size)


class Secrets(NamedTuple):
    """One secret of every kind. ``external_id`` is the use case's, which is known where its logs are saved."""

    access_key: str
    secret_key: str
    session_token: str
    signature: str
    external_id: str
    account: str


mixed = string.ascii_letters + string.digits
secrets = st.builds(
    Secrets,
    access_key=st.builds("{}{}".format, st.sampled_from(["AKIA", "ASIA"]), drawn(letters + digits, 16)),
    secret_key=st.builds("aA1{}".format, drawn(mixed + "+", 37)),
    session_token=st.builds("{}{}".format, st.sampled_from(["IQoJ", "FwoG"]), drawn(mixed, 80)),
    signature=drawn("0123456789abcdef", 64),
    external_id=st.builds("ext-{}".format, drawn(mixed, 20)),
    account=st.builds("{}{}".format, st.sampled_from("123456789"), drawn(digits, 11)),
)
texts = st.lists(
    st.sampled_from(
        [
            "User: arn:aws:sts::{account}:assumed-role/R/s is not authorized to perform: sts:AssumeRole",
            "The AWS Access Key Id {access_key} you provided does not exist",
            "aws_secret_access_key={secret_key}",
            '{{"SecretAccessKey": "{secret_key}", "SessionToken": "{session_token}"}}',
            "key {secret_key} was used",
            "token {session_token}",
            "X-Amz-Security-Token={session_token}",
            "GET https://b.s3.amazonaws.com/k?X-Amz-Credential={access_key}%2F20260102%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-Expires=3600&X-Amz-Signature={signature} failed",
            "Authorization: AWS4-HMAC-SHA256 Credential={access_key}/20260102/us-east-1/s3/aws4_request, "
            "SignedHeaders=host, Signature={signature}",
            "AssumeRole with ExternalId={external_id} refused",
            "external_id: {external_id}",
            "s3://models-{account}/lid/model.tar.gz",
            "ClientError: InputConfiguration | `x` <b>",
        ]
    ),
    min_size=1,
    max_size=4,
)


def found(written: str, fed: Secrets) -> list[str]:
    """The kinds of secret that can be read in the output."""
    return [kind for kind, secret in fed._asdict().items() if secret in written]


@settings(max_examples=EXAMPLES, deadline=None)
@given(fed=secrets, parts=texts, publishing=st.booleans())
def test_nothing_secret_is_in_a_runs_record_page_and_message(fed: Secrets, parts: list[str], publishing: bool) -> None:
    """**Feature: compilation-job-visibility: sensitive data**

    Whatever secrets a reason, a log line, a name or a URI contains, the table, the page and the state message do not.
    """
    text = "; ".join(parts).format(**fed._asdict())
    error = (PublishFailed if publishing else CompilationFailed)(f"target failed: {text}", reason=text)

    async def written() -> str:
        ledger = Ledger()
        record = RecordWriter(ledger, "lid-7", "00000000-0000-4000-8000-000000000000", str)
        ledger.expect(["arm64-cpu", "x86_64-cpu", "x86_64-cuda"])
        run: Any = SimpleNamespace(record=record, ledger=ledger, flow_run_id="1")
        ledger.compiling("arm64-cpu", component="model-a")
        ledger.job_seen("arm64-cpu", "lid-7-arm64cpu-00000000-1", 1)
        tail = log_tail([LogLine(stream="s", at=AT, text=text)])
        ledger.learned("arm64-cpu", CompilationFacts(log_tail=tail, inference_image=text))
        note_failure(run, "arm64-cpu", error)
        made = Installable(
            component="model-a",
            version="1.0.0",
            arn=f"arn:aws:greengrass:us-east-1:{fed.account}:components:model-a:versions:1.0.0",
            package=f"s3://b-{fed.account}/{text}",
            compiled_artifact=f"s3://b-{fed.account}/{text}",
        )
        ledger.deployable("x86_64-cpu", made)
        note_failure(run, "x86_64-cuda", RuntimeError(text))
        return "\n".join([json.dumps(record.rows()), record.page(), str(end_state(run).message)])

    assert found(asyncio.run(written()), fed) == []


@settings(max_examples=EXAMPLES, deadline=None)
@given(fed=secrets, parts=texts, kind=st.sampled_from([RuntimeError, KeyError, CompilationFailed, ClientError]))
def test_nothing_secret_leaves_a_task_or_is_logged(fed: Secrets, parts: list[str], kind: Any) -> None:
    """**Feature: compilation-job-visibility: sensitive data**

    Whatever an exception and its cause say, neither states nor logs nor persisted results show a key, a token, a
    signature or the external id of a use case that the process has loaded. Account ids may be shown there.
    """
    text = "; ".join([*parts, "sts said {external_id}."]).format(**fed._asdict())
    remember_secret(fed.external_id)
    error = kind({"Error": {"Code": "A", "Message": text}}, "B") if kind is ClientError else kind(text)
    error.__cause__ = ValueError(text)
    record = logging.LogRecord("n", 20, "f", 1, "%s", (text,), (kind, error, None))
    logged = logging.Formatter().format(sanitised_logs._SanitisedRecords(lambda: record)())
    clean = without_secrets(error)
    assert type(clean) is kind
    left = [logged, "".join(traceback.format_exception(clean)), repr(clean), str(vars(clean))]
    assert set(found("\n".join(left), fed)) <= {"account"}


@settings(max_examples=EXAMPLES)
@given(fed=secrets, parts=texts)
def test_nothing_secret_is_in_a_saved_log(fed: Secrets, parts: list[str]) -> None:
    """**Feature: compilation-job-visibility: sensitive data**

    A saved log contains no secrets, including the use case's external id in any form.
    """
    raw = [part.format(**fed._asdict()) for part in [*parts, "sts said {external_id}."]]
    lines = [LogLine(stream="lid-1", at=AT, text=text) for text in raw]
    saved = "\n".join(line.text for line in sanitised(lines, [fed.external_id]))
    assert found(saved + "\n".join(log_tail(lines, secrets=[fed.external_id])), fed) == []


@settings(max_examples=EXAMPLES)
@given(fed=secrets, parts=texts)
def test_nothing_secret_is_in_the_pages_of_devices_and_links(fed: Secrets, parts: list[str]) -> None:
    """**Feature: compilation-job-visibility: sensitive data**

    A deployment's name, a failure and a URI may contain secrets; the pages do not. A link's own signature is only on
    the page of links, and only inside the link.
    """
    text = "; ".join(parts).format(**fed._asdict())
    device = DeviceEntry(thing="press", status="HEALTHY", state="RUNNING", deployment=text, last_seen=AT)
    version = InstalledVersion(component="model-a", version="1.0.0", count=1, devices=(device,))
    good = DeviceSurvey(use_case="a", region="eu-central-1", versions=(version,))
    failed = DeviceSurvey(use_case="b", region="eu-central-1", failure=text)
    assert found(component_page("model-a", [good, failed], AT), fed) == []

    url = "https://example.com/link"
    link = DownloadLink(uri=text, url=url, expires=AT + timedelta(hours=1))
    made = [MadeLink("arm64-cpu", Product.COMPILED, f"s3://{text}", link)]
    page = links_page("lid-7", made, AT)
    assert f"[download]({url})" in page
    assert found(page, fed) == []
