"""Answers of AWS that botocore does not understand are broken connections, and repeated as such.

- An answer that breaks off: botocore tells urllib3 not to compare a body with the length that was announced, and takes
  half a JSON for an empty answer, such as a job without a status. Bodies that are read piece by piece, as those of
  GetObject, it does check.
- HTTP 429 and nothing else, as a proxy or a load balancer sends it: botocore does not repeat it.
- What is no XML where XML was expected: botocore raises an error that none of its other errors is a kind of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionClosedError, HTTPClientError
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


class TooManyRequests(HTTPClientError):
    """AWS answered with HTTP 429 and nothing else. As one of botocore's errors it has botocore repeat the call."""

    fmt = "HTTP 429 (Too Many Requests) and nothing else came from endpoint URL: {endpoint_url}"


def expect_whole_answers(session: boto3.Session) -> None:
    """Have every client that the session makes from now on refuse such answers.

    A client then repeats its call as after any broken connection, and in the end raises an ``HTTPClientError``.
    """
    session.events.register("creating-client-class", _extend)


def _extend(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _ClientOfWholeAnswers)


class _ClientOfWholeAnswers:
    _endpoint: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._endpoint.http_session = _WholeAnswers(self._endpoint.http_session)

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        try:
            return super()._make_api_call(operation_name, api_params)  # type: ignore[misc]
        except ResponseParserError as error:
            raise HTTPClientError(error=error) from error


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
        if response.status_code == 429 and not response.content:
            raise TooManyRequests(endpoint_url=request.url)
        return response

    def close(self) -> None:
        self._http_session.close()
