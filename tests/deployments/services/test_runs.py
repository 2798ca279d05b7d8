from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from dda_core.exceptions import PrefectUnreachable
from deployments.services.runs import prefect_errors


class Other(BaseHTTPRequestHandler):
    """A server that is not a Prefect server: it answers with a page, or with the status in the path."""

    def do_GET(self) -> None:
        self.send_response(int(status) if (status := self.path.split("/")[1]).isdigit() else 200)
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "does not answer as a Prefect API does"),
        ("/404/api", "answered 404"),
        ("/500/api", "answered 500"),
        ("/401/api", "Set PREFECT_API_AUTH_STRING"),
    ],
)
async def test_a_server_that_is_not_a_prefect_server_is_an_error(other: str, path: str, said: str):
    await refused(other + path, said)


@pytest.mark.parametrize("url", ["127.0.0.1:4200/api", "ftp://example.com/api", "http://127.0.0.1:9/api"])
async def test_an_address_where_no_server_answers(url: str):
    await refused(url, f"no Prefect server answers at {url}")


async def refused(url: str, said: str) -> None:
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        with pytest.raises(PrefectUnreachable) as error, prefect_errors():
            async with get_client() as client:
                await client.read_flows()
        assert said in str(error.value)
        assert url in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hush@127.0.0.1:9/api?token=hush",
        "http://hush@127.0.0.1:9/api",
        "http://user:a/hush@127.0.0.1:9/api",
        "user:hush@127.0.0.1:9/api",
        "{other}/404/api?token=hush",
        "{other}/401/api#hush",
    ],
)
async def test_errors_about_the_server_hide_passwords(other: str, url: str):
    changed = {PREFECT_API_URL: url.format(other=other), PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(changed), pytest.raises(PrefectUnreachable) as error, prefect_errors():
        async with get_client() as client:
            await client.read_flows()
    assert "hush" not in str(error.value)
    assert "127.0.0.1:" in str(error.value)
