import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.sanitise import ACCOUNT_MASK, bare_url, redact, remember_secret, sanitise, without_url_secrets

KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjE" + "aB3/+xY9" * 30 + "=="
HEX = "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024"
PRESIGNED = (
    "https://b.s3.eu-west-1.amazonaws.com/models/m.tar.gz?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    f"&X-Amz-Credential={KEY_ID}%2F20261121%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261121T080000Z"
    f"&X-Amz-Expires=900&X-Amz-Security-Token={TOKEN.replace('/', '%2F').replace('+', '%2B')}"
    f"&X-Amz-SignedHeaders=host&X-Amz-Signature={HEX}"
)


@pytest.mark.parametrize(
    "text",
    [
        f"key {KEY_ID} was used",
        f"ASIA{KEY_ID[4:]} was used",
        f"aws_secret_access_key = {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET} dda compile",
        f'{{"SecretAccessKey": "{SECRET}", "SessionToken": "{TOKEN}"}}',
        f'{{\\"SecretAccessKey\\": \\"{SECRET}\\"}}',
        f"<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>",
        f"the pair was ({KEY_ID}, {SECRET})",
        f"session token {TOKEN} has expired",
        f"token={TOKEN}",
        f"{{'X-Amz-Security-Token': b'{TOKEN}'}}",
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY_ID}/20261121/eu-west-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={HEX}",
        f"{{'Authorization': b'AWS4-HMAC-SHA256 Credential={KEY_ID}/x, SignedHeaders=host, Signature={HEX}'}}",
        f"AWS4-HMAC-SHA256 Credential={KEY_ID}/x, SignedHeaders=host, Signature={HEX}",
        f"authorization: Bearer {TOKEN}",
        f"got {PRESIGNED} back",
        f"https://b.s3.amazonaws.com/k?AWSAccessKeyId={KEY_ID}&Expires=1&Signature={SECRET}%3D",
    ],
)
def test_secrets_are_taken_out(text):
    clean = sanitise(text)
    for secret in (KEY_ID, KEY_ID[4:], SECRET, SECRET[:20], TOKEN[:40], TOKEN[-40:], HEX):
        assert secret not in clean
    assert "***" in clean


def test_what_is_no_secret_of_a_presigned_url_stays():
    clean = sanitise(PRESIGNED)
    assert clean.startswith("https://b.s3.eu-west-1.amazonaws.com/models/m.tar.gz?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "X-Amz-Date=20261121T080000Z&X-Amz-Expires=900" in clean
    assert "X-Amz-SignedHeaders=host" in clean


def test_named_values_go_and_their_names_stay():
    assert sanitise("--external-id factory-7 --region eu-west-1") == "--external-id *** --region eu-west-1"
    assert sanitise("ExternalId=factory-7&RoleArn=r") == "ExternalId=***&RoleArn=r"
    assert sanitise("PREFECT_API_AUTH_STRING='admin:pass'") == "PREFECT_API_AUTH_STRING='***'"
    assert sanitise("http://admin:pass@127.0.0.1:4200/api") == "http://***@127.0.0.1:4200/api"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The security token included in the request is expired",
        "An error occurred (AccessDenied) when calling the AssumeRole operation: Access Denied",
        f"sha256 {HEX} of models/training/cookie/output/model.tar.gz",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "arn:aws:iam::123456789012:role/DDASageMakerExecutionRole (AROAIOSFODNN7EXAMPLE)",
        "s3://dda-b/models/compilation/cookie-jetson-12ab34cd-1/jetson-xavier/model-LINUX_ARM64_NVIDIA.tar.gz",
        "config.yaml says 1024x1280, mochi.json says input_shape [1, 3, 1024, 1280]: a basic understanding is needed",
        "is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k",
    ],
)
def test_what_is_no_secret_stays(text):
    assert sanitise(text) == text


def test_further_secrets_are_taken_out_the_longest_first():
    assert sanitise("id abc-123 and abc", ["abc", "", "abc-123"]) == "id *** and ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("arn:aws:iam::123456789012:role/x", f"arn:aws:iam::{ACCOUNT_MASK}:role/x"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", f"{ACCOUNT_MASK}.dkr.ecr.eu-west-1.amazonaws.com"),
        ("s3://dda-123456789012-models/k", f"s3://dda-{ACCOUNT_MASK}-models/k"),
        ("account 123456789012, and 210987654321.", f"account {ACCOUNT_MASK}, and {ACCOUNT_MASK}."),
        ("model_artifacts/model-123456789012/123456789012_greengrass_model_component.zip", None),
        ("0.123456789012 and 1234567890123 and ab123456789012", None),
        ("f47ac10b-58cc-4372-a567-123456789012", None),
    ],
)
def test_account_ids_are_masked_on_request_only(text, masked):
    assert sanitise(text) == text
    assert sanitise(text, mask_accounts=True) == (masked or text)


secret_characters = string.ascii_letters + string.digits + "/+"


@settings(max_examples=200)
@given(
    before=st.text(max_size=30),
    secret=st.text(secret_characters, min_size=20, max_size=60),
    name=st.sampled_from(
        ["aws_secret_access_key", "AWS_SESSION_TOKEN", "SecretAccessKey", "X-Amz-Signature", "external_id"]
    ),
    joint=st.sampled_from(["=", ": ", '": "', " = '", '\\": \\"']),
)
def test_a_named_secret_never_survives(before, secret, name, joint):
    assert secret not in sanitise(f"{before} {name}{joint}{secret}").removeprefix(before)


@settings(max_examples=200)
@given(st.text(max_size=200) | st.text(secret_characters + "=&?:'\" \n-", max_size=200))
def test_a_second_time_changes_nothing(text):
    once = sanitise(text, mask_accounts=True)
    assert sanitise(once, mask_accounts=True) == once


def test_long_texts_take_no_time():
    import time

    began = time.monotonic()
    for text in (
        "a." * 100_000,
        "=" * 200_000,
        "authorization" * 20_000,
        "1" * 200_000,
        "password " * 20_000,
        "A+/" * 70_000,
    ):
        sanitise(text, mask_accounts=True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:hush@example.com:4200/api", "https://example.com:4200/api"),
        ("https://hush@example.com/api", "https://example.com/api"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=hush", "https://b.s3.amazonaws.com/k"),
        ("https://example.com/api?sig=hush&a=b#hush", "https://example.com/api"),
        ("https://example.com#hush", "https://example.com"),
        ("https://user:a/hush@example.com/api", "https://example.com/api"),
        ("https://user:a?hush@example.com", "https://example.com"),
        ("user:hush@example.com/api", "example.com/api"),
        ("sqlite+aiosqlite:///folder/prefect.db?key=hush", "sqlite+aiosqlite:///folder/prefect.db"),
        ("http://[::1]:4200/api", "http://[::1]:4200/api"),
        ("", ""),
    ],
)
def test_of_a_url_host_and_path_are_left(url, bare):
    assert bare_url(url) == bare
    if "://" in url:
        assert without_url_secrets(f"({url}), or <{url}>. See {url}.") == f"({bare}), or <{bare}>. See {bare}."


def test_text_without_urls_is_left_alone():
    for text in ("why? #1 user@example.com", "s3://bucket/a/model.tar.gz", "arn:aws:iam::123456789012:role/R"):
        assert without_url_secrets(text) == text


def test_what_a_process_remembers_is_redacted_also_where_it_is_percent_encoded():
    remember_secret("factory/seven")
    assert redact("id factory/seven, ExternalId=factory%2Fseven") == "id ***, ExternalId=***"
    assert sanitise("factory/seven") == "factory/seven"


def test_a_short_secret_is_masked_as_a_word_only():
    remember_secret("lid")
    assert redact("lid of lid-7, solid") == "*** of ***-7, solid"
