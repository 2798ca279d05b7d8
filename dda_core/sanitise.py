"""Taking secrets out of a text before it is shown, logged or stored where others read it."""

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
    # An Authorization header to its end of line or closing quote: scheme, credential, signed headers, signature.
    (re.compile(r"""(?i)((?:proxy-)?authorization["']?\s*[:=]\s*(?:b?["'])?)[^\r\n"']+"""), rf"\1{MASK}"),
    (re.compile(r"""(?i)\b(AWS4-HMAC-SHA256\s+)Credential=[^\r\n"']+"""), rf"\1{MASK}"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)(?=[A-Za-z+/=_.~-]*\d)[A-Za-z0-9._~+/=-]{12,}"), rf"\1{MASK}"),
    # Named values: in a query string, JSON, XML, an environment, a configuration file, on a command line.
    (re.compile(rf"""(?i)({_NAMES}\\?["']?\s*[:=>]\s*\\?(?:b?["'])?){_VALUE}"""), rf"\1{MASK}"),
    (re.compile(rf"""(?i)(--{_NAMES}\s+["']?){_VALUE}"""), rf"\1{MASK}"),
    # In a sentence only what looks like a token, so that "the security token included in the request" stays.
    (re.compile(rf"""(?i)({_NAMES}\s+(?:is\s+)?["']?)(?=\S*\d)[A-Za-z0-9+/=_%-]{{16,}}"""), rf"\1{MASK}"),
    # The query string of a URL that S3 signed the older way, whose names are too common to stand alone.
    (re.compile(r"""(?i)([?&](?:signature|credential|token)=)[^\s"'&<>]+"""), rf"\1{MASK}"),
    # What is left of an Authorization header that was cut: a signature is 64 hexadecimal digits.
    (re.compile(r"(?i)\b(signature\s*[=:]\s*)[0-9a-f]{64}(?![0-9a-f])"), rf"\1{MASK}"),
    # The user and password of a URL, or the token that stands in their place.
    (re.compile(r"""(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s/@?#"'<>]+@"""), rf"\1{MASK}@"),
    # Access key ids tell themselves by their prefix; role and user ids (AROA, AIDA) are no secrets.
    (re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"), MASK),
    # Session tokens tell themselves by how they begin.
    (re.compile(r"(?<![A-Za-z0-9+/])(?:FwoG|IQoJ|AQoD|FQoG)[A-Za-z0-9+/%]{60,}={0,2}"), MASK),
)

_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_-])")
_TWELVE = re.compile(r"(?<!\d)\d{12}(?!\d)")
# Neither the id of a package, nor the end of a UUID, nor decimals are an account's id.
_ACCOUNT = re.compile(
    r"(?<![0-9A-Za-z])(?<!\d\.)(?<!model_artifacts/model-)(?<![0-9a-f]{4}-[0-9a-f]{4}-)"
    r"\d{12}(?![0-9A-Za-z]|\.\d|_greengrass_model_component)"
)


def sanitise(text: str, secrets: Iterable[str] = (), *, mask_accounts: bool = False, keep: Iterable[str] = ()) -> str:
    """The text without AWS keys, session tokens, Authorization headers and signatures of presigned URLs.

    Args:
        text: any text, such as an error message.
        secrets: further words that must not be seen, such as a use case's external id.
        mask_accounts: whether 12-digit account ids become asterisks too, as wherever others than the owner read it.
        keep: names, of training jobs and models, whose own twelve digits (a date, say) are no account's.
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
"""The length from which a secret is masked inside of words too; a shorter one could be part of any."""
_known: dict[str, None] = {}


def remember_secret(value: str) -> None:
    """Make a value, such as a use case's external id, one that ``redact`` masks for as long as the process lives."""
    if value:
        _known[value] = None


def redact(text: str, *, mask_accounts: bool = False, keep: Iterable[str] = ()) -> str:
    """As ``sanitise``, and without the secrets that this process knows by value: for errors, logs and messages.

    Not for names and URIs that programs read back: an external id may be any word, and so be part of one.
    """
    before, text = "", mask_values(text, list(_known))
    # What is masked may uncover the name of what follows it; each round masks at least one value more.
    while text != before:
        before, text = text, sanitise(text, mask_accounts=mask_accounts, keep=keep)
    return text


def mask_values(text: str, values: Iterable[str]) -> str:
    """The text with each of the values masked, also where it is percent-encoded; a short one as a whole word only."""
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
    """The text with every URL in it reduced to scheme, host and path.

    User, password, query and fragment are left out: a token may stand in each of them.
    """
    return _URL.sub(lambda match: bare_url(match[0]), text)


def bare_url(url: str) -> str:
    """What is meant to be a URL, reduced to scheme, host and path, whether or not it is a proper one."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    before_query = re.split(r"[?#]", rest)[0]
    if "/" not in before_query:
        # A password may hold ? or # though it should not, and the host comes after it.
        rest = rest.rpartition("@")[2]
    elif "@" in before_query:
        rest = rest[before_query.rindex("@") + 1 :]
    return scheme + separator + _QUERY.sub("", rest)


def unmasked(text: str, account_id: str) -> str:
    """A name or URI whose account id was masked, as it was; for those who may see it."""
    return text.replace(ACCOUNT_MASK, account_id)


def _mask_key(match: re.Match[str]) -> str:
    """Mask 40 characters that look drawn at random; a hexadecimal digest or a path of that length is kept."""
    word = match[0]
    drawn = re.search(r"[a-z]", word) and re.search(r"[A-Z]", word) and re.search(r"\d", word)
    return MASK if drawn and word.count("/") < 4 else word
