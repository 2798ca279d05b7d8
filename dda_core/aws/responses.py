"""Treats truncated and malformed AWS responses as broken connections, so that botocore retries the call.

- Truncated responses: botocore tells urllib3 not to compare a body with its Content-Length, and takes half a JSON
  document for an empty response, such as a job without a status. It does check streamed bodies, as of GetObject.
- HTTP 429 with an empty body, as a proxy or a load balancer sends it: botocore does not retry it.
- Malformed XML: botocore raises an error outside its own class hierarchy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ConnectionClosedError, HTTPClientError
from botocore.parsers import ResponseParserError

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse


class TooManyRequests(HTTPClientError):
    """HTTP 429 with an empty body. As a botocore error it makes botocore retry the call."""

    fmt = "HTTP 429 (Too Many Requests) with an empty body from endpoint URL: {endpoint_url}"


def refuse_truncated_responses(session: boto3.Session) -> None:
    """Make every client that the session creates from now on refuse such responses.

    A client then retries the call as after any broken connection, and finally raises an ``HTTPClientError``.
    """
    session.events.register("creating-client-class", _extend)


def _extend(base_classes: list[type], **_: Any) -> None:
    base_classes.insert(0, _CheckingClient)


class _CheckingClient:
    _endpoint: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._endpoint.http_session = _CheckingHttpSession(self._endpoint.http_session)

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        try:
            return super()._make_api_call(operation_name, api_params)  # type: ignore[misc]
        except ResponseParserError as error:
            raise HTTPClientError(error=error) from error


class _CheckingHttpSession:
    """botocore's HTTP session with checked responses."""

    def __init__(self, http_session: Any) -> None:
        self._http_session = http_session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        response: AWSResponse = self._http_session.send(request)
        if not request.stream_output and request.method != "HEAD":
            expected, received = response.headers.get("content-length", ""), len(response.content)
            if expected.isdigit() and received < int(expected):
                why = f"the response was truncated at byte {received} of {expected}"
                raise ConnectionClosedError(endpoint_url=request.url, request=request, error=why)
        if response.status_code == 429 and not response.content:
            raise TooManyRequests(endpoint_url=request.url)
        return response

    def close(self) -> None:
        self._http_session.close()
