"""An answer of AWS that breaks off in the middle is a broken connection, and repeated as such.

botocore tells urllib3 not to compare a body with the length that was announced, and takes half a JSON for an empty
answer: a job without a status, a list without entries. Bodies that are read piece by piece, as those of GetObject,
it does check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionClosedError

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


def expect_whole_answers(session: boto3.Session) -> None:
    """Have every client that the session makes from now on refuse an answer that breaks off.

    The client then repeats its call as after any broken connection, and in the end raises ``ConnectionClosedError``.
    """
    session.events.register("creating-client-class", _extend)


def _extend(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _ClientOfWholeAnswers)


class _ClientOfWholeAnswers:
    _endpoint: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._endpoint.http_session = _WholeAnswers(self._endpoint.http_session)


class _WholeAnswers:
    """botocore's HTTP session, whose answers are looked at."""

    def __init__(self, http_session: Any) -> None:
        self._http_session = http_session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        response: AWSResponse = self._http_session.send(request)
        if not request.stream_output and request.method != "HEAD":
            announced, came = response.headers.get("content-length", ""), len(response.content)
            if announced.isdigit() and came < int(announced):
                why = f"the answer broke off at byte {came} of {announced}"
                raise ConnectionClosedError(endpoint_url=request.url, request=request, error=why)
        return response

    def close(self) -> None:
        self._http_session.close()
