"""Printed errors contain no secrets, whatever their text."""

from __future__ import annotations

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from dda_core.exceptions import AwsCallFailed, FileMissing, PrefectUnreachable
from dda_core.sanitise import remember_secret
from deployments.cli.errors import DEBUG, report
from tasks.store.approvals import Approval
from tests.fixtures.secrets import SECRETS, leaks, reason


def cause_and_effect() -> Exception:
    try:
        raise KeyError(reason("cause"))
    except KeyError as error:
        made = AwsCallFailed(reason("effect"))
        made.__cause__ = error
        return made


def wrong_approval() -> Exception:
    with pytest.raises(ValueError) as raised:
        Approval.model_validate({"decision": reason("approval"), "who": "a", "why": ""})
    return raised.value


ERRORS = [
    FileMissing(reason("missing"), path=reason("missing")),
    PrefectUnreachable(f"no server at https://user:{SECRETS['password']}@example.com/api?a={SECRETS['signature']}"),
    ClientError({"Error": {"Code": "InternalError", "Message": reason("client")}}, "CreateCompilationJob"),
    EndpointConnectionError(endpoint_url=f"https://{SECRETS['password']}@example.com/?a={SECRETS['signature']}"),
    httpx.ConnectError(reason("connect")),
    OSError(13, reason("open"), f"/a?X-Amz-Signature={SECRETS['signature']}"),
    RuntimeError(reason("unexpected")),
    cause_and_effect(),
    wrong_approval(),
]


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_printed_without_secrets(
    error: Exception, debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_secret(SECRETS["external id"])
    if debug:
        monkeypatch.setenv(DEBUG, "1")
    assert report(error) > 0
    printed = capsys.readouterr()
    assert leaks(printed.out + printed.err) == []
    assert "error: " in printed.err
    assert ("Traceback" in printed.err or type(error).__name__ in printed.err) >= debug
