"""Removing secrets from text before it is shown, logged or stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

MASK = "***"
ACCOUNT_MASK = "*" * 12

_NAMES = (
    r"(?<![a-z0-9])(?:x[-_]?amz[-_](?:signature|credential|security[-_]token)"
    r"|(?:aws[-_ ]?)?secret[-_ ]?access[-_ ]?key|(?:aws[-_ ]?)?(?:session|security)[-_ ]?token"
    r"|(?:aws[-_ ]?)?access[-_ ]?key[-_ ]?id|external[-_ ]?id|client[-_ ]?secret|auth[-_ ]?string"
    r"|api[-_ ]?key|passw(?:or)?d)"
)
_VALUE = r"""[^\s"'\\&,;<>})\]]+"""

_RULES = (
    # An Authorization header up to the end of line or closing quote: scheme, credential, signed headers, signature.
    (re.compile(r"""(?i)((?:proxy-)?authorization["']?\s*[:=]\s*(?:b?["'])?)[^\r\n"']+"""), rf"\1{MASK}"),
    (re.compile(r"""(?i)\b(AWS4-HMAC-SHA256\s+)Credential=[^\r\n"']+"""), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)(?=[A-Za-z+/=_.~-]*\d)[A-Za-z0-9._~+/=-]{12,}"), rf"\1{MASK}"),
    # Named values: in a query string, JSON, XML, an environment, a configuration file, on a command line.
    (re.compile(rf"""(?i)({_NAMES}\\?["']?\s*[:=>]\s*\\?(?:b?["'])?){_VALUE}"""), rf"\1{MASK}"),
    (re.compile(rf"""(?i)(--{_NAMES}\s+["']?){_VALUE}"""), rf"\1{MASK}"),
    # In prose, only what looks like a token, so that "the security token included in the request" stays.
    (re.compile(rf"""(?i)({_NAMES}\s+(?:is\s+)?["']?)(?=\S*\d)[A-Za-z0-9+/=_%-]{{16,}}"""), rf"\1{MASK}"),
    # The query string of an S3 URL with an older signature version, whose names are too common to match alone.
    (re.compile(r"""(?i)([?&](?:signature|credential|token)=)[^\s"'&<>]+"""), rf"\1{MASK}"),
    # The rest of a truncated Authorization header: a signature is 64 hexadecimal digits.
    (re.compile(r"(?i)\b(signature\s*[=:]\s*)[0-9a-f]{64}(?![0-9a-f])"), rf"\1{MASK}"),
    # The user and password of a URL, or a token in their place.
    (re.compile(r"""(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@?#"'<>]+@"""), rf"\1{MASK}@"),
    # Access key ids are recognised by their prefix; role and user ids (AROA, AIDA) are not secret.
    (re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"), MASK),
    # Session tokens are recognised by their prefix.
    (re.compile(r"(?<![A-Za-z0-9+/])(?:FwoG|IQoJ|AQoD|FQoG)[A-Za-z0-9+/%]{60,}={0,2}"), MASK),
)

_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_-])")
_TWELVE = re.compile(r"(?<!\d)\d{12}(?!\d)")
# A package's id, the end of a UUID and decimals are not account ids.
_ACCOUNT = re.compile(
    r"(?<![0-9A-Za-z])(?<!\d\.)(?<!model_artifacts/model-)(?<![0-9a-f]{4}-[0-9a-f]{4}-)"
    r"\d{12}(?![0-9A-Za-z]|\.\d|_greengrass_model_component)"
)


def sanitise(text: str, secrets: Iterable[str] = (), *, mask_accounts: bool = False, keep: Iterable[str] = ()) -> str:
    """The text with AWS keys, session tokens, Authorization headers and presigned signatures masked.

    Args:
        text: any text, such as an error message.
        secrets: further values to mask, such as a use case's external id.
        mask_accounts: also mask 12-digit account ids, for text that people other than the owner read.
        keep: names of training jobs and models whose own twelve digits (a date, say) are not an account id.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _SECRET_KEY.sub(_mask_key, text)
    if not mask_accounts:
        return text
    known = {digits for name in keep for digits in _TWELVE.findall(name)}
    return _ACCOUNT.sub(lambda match: match[0] if match[0] in known else ACCOUNT_MASK, text)


_MASKED_ANYWHERE = 8
"""The length from which a secret is masked inside words too; a shorter one could be part of any word."""
_known: dict[str, None] = {}


def remember_secret(value: str) -> None:
    """Make ``redact`` mask a value, such as a use case's external id, for the lifetime of the process."""
    if value:
        _known[value] = None


def redact(text: str, *, mask_accounts: bool = False, keep: Iterable[str] = ()) -> str:
    """Like ``sanitise``, but also masks the remembered secrets: for errors, logs and messages.

    Not for names and URIs that programs read back: an external id may be any word, and so be part of them.
    """
    before, text = "", mask_values(text, list(_known))
    # Masking one value may expose the name of the next; each round masks at least one more value.
    while text != before:
        before, text = text, sanitise(text, mask_accounts=mask_accounts, keep=keep)
    return text


def mask_values(text: str, values: Iterable[str]) -> str:
    """The text with each value masked, also if percent-encoded; short values only as whole words."""
    for value in sorted(filter(None, values), key=len, reverse=True):
        text = _pattern(value).sub(MASK, text)
    return text


@lru_cache(maxsize=256)
def _pattern(value: str) -> re.Pattern[str]:
    forms = "|".join(map(re.escape, dict.fromkeys((value, quote(value, safe="")))))
    if len(value) >= _MASKED_ANYWHERE:
        return re.compile(forms)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{forms})(?![A-Za-z0-9])")


_URL = re.compile(r"""(?i)\b[a-z][a-z0-9+.-]{0,20}://[^\s"'<>`|\\]+""")
_QUERY = re.compile(r"[?#].*?(?=[)\].,;:!]*$)")


def without_url_secrets(text: str) -> str:
    """The text with every URL reduced to scheme, host and path.

    User, password, query and fragment are removed, because each may hold a token.
    """
    return _URL.sub(lambda match: bare_url(match[0]), text)


def bare_url(url: str) -> str:
    """A URL, even a malformed one, reduced to scheme, host and path."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    before_query = re.split(r"[?#]", rest)[0]
    if "/" not in before_query:
        # A password may contain an unescaped ? or #, and the host follows it.
        rest = rest.rpartition("@")[2]
    elif "@" in before_query:
        rest = rest[before_query.rindex("@") + 1 :]
    return scheme + separator + _QUERY.sub("", rest)


def unmasked(text: str, account_id: str) -> str:
    """A name or URI with its masked account id restored, for readers who may see it."""
    return text.replace(ACCOUNT_MASK, account_id)


def _mask_key(match: re.Match[str]) -> str:
    """Mask 40 characters that look random; a hexadecimal digest or a path of that length is kept."""
    word = match[0]
    drawn = re.search(r"[a-z]", word) and re.search(r"[A-Z]", word) and re.search(r"\d", word)
    return MASK if drawn and word.count("/") < 4 else word
