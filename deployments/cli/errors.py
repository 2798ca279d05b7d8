"""Errors of the command line: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback

import typer
from pydantic import ValidationError

from dda_core.aws.errors import error_code, error_message, is_credentials_refused
from dda_core.exceptions import AwsCallFailed, DdaError
from dda_core.sanitised_errors import masked
from dda_core.validation import explained
from deployments.cli.output import printable

EXIT_CODES = {
    0: "ok",
    1: "a target failed, an input was refused, or a check has findings",
    2: "usage",
    3: "configuration or credentials",
    4: "an AWS error, or output that cannot be written, for example to a full disk",
    130: "interrupted",
}

DEBUG = "DDA_DEBUG"
"""The environment variable that adds the traceback to errors."""

DEFECT = f"This is a bug in dda: please report it with the output of {DEBUG}=1."

LOG_IN = (
    "Run `aws configure` or `aws sso login`, set AWS_PROFILE, or, for the local AWS, run: "
    'eval "$(dda local env)". `dda config show` shows the effective settings.'
)
NOT_WRITABLE = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EROFS,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    }
)
"""The operating system's errors where another path is needed."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Its errors where the path is right but writing fails."""

LONGEST_WORD = 300
"""Longest name, or other text without spaces, that errors show in full; ARNs and paths are shorter. In characters."""
SHOWN = 60
"""Characters shown of a longer one."""
_LONG = re.compile(rf"'[^']{{{LONGEST_WORD},}}'|\S{{{LONGEST_WORD},}}")


def report(error: Exception) -> int:
    """Print the error on standard error, in one line; returns the exit code."""
    if os.environ.get(DEBUG):
        print(masked("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    code, message = _explain(error)
    if message:
        print(f"error: {printable(shortened(masked(message)))}", file=sys.stderr)
    return code


def shortened(message: str) -> str:
    """The message with names of hundreds of characters truncated: nobody needs to read a mistyped one again."""
    return _LONG.sub(lambda found: f"{found[0][:SHOWN]}... ({len(found[0])} characters)", message)


def _explain(error: Exception) -> tuple[int, str]:
    if isinstance(error, DdaError):
        # The cause may be refused credentials, which have another exit code.
        aws = _aws_error(error.__cause__) if isinstance(error, AwsCallFailed) else None
        return aws if aws and aws[0] == 3 else (error.exit_code, str(error))
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return 130, "aborted"
    if found := _aws_error(error) or _settings_of_others(error):
        return found
    if isinstance(error, ValidationError):
        return 1, f"unexpected {error.title}: {explained(error, quoted=())}. {DEFECT}"
    if isinstance(error, OSError):
        where = error.filename or "output"
        if error.errno in NO_ROOM:
            return 4, f"{where} cannot be written: {error.strerror}. Free some space, or write it elsewhere."
        return 2 if error.errno in NOT_WRITABLE else 1, f"{where}: {error.strerror or error}"
    return 1, f"unexpected {type(error).__name__}: {' '.join(str(error).split())}. {DEFECT}"


def _settings_of_others(error: Exception) -> tuple[int, str] | None:
    """Exit code and message where Prefect or botocore cannot use its settings; None for any other error.

    Both raise generic exceptions, so the raising module decides. Values are not shown: one may be a password.
    """
    raised_by = {str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)}
    if any(name == "botocore.endpoint" for name in raised_by) and isinstance(error, ValueError):
        return 3, (
            "AWS_ENDPOINT_URL, or endpoint_url in the AWS profile, is not a URL: expected http://HOST:PORT or "
            "https://HOST. Correct or unset it."
        )
    if not any(name.startswith("prefect.settings") for name in raised_by):
        return None
    if isinstance(error, ValidationError):
        problems = "; ".join(
            f"{'.'.join(map(str, (error.title, *problem['loc'])))}: {problem['msg']}" for problem in error.errors()
        )
        return 3, (
            f"Prefect cannot use its settings: {problems}. Correct or unset the PREFECT_... variable, or correct "
            f"Prefect's profile ({_profiles()})."
        )
    return 3, f"Prefect cannot read its profiles ({_profiles()}): {error}. Correct the file, or remove it."


def _profiles() -> str:
    return os.environ.get("PREFECT_PROFILES_PATH") or "profiles.toml in PREFECT_HOME, by default ~/.prefect"


def _usage(error: typer.TyperException) -> tuple[int, str]:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.exit_code, ""  # the help has been printed
    hint = f" Try: {context.command_path} --help" if context is not None else ""
    message = error.format_message().strip()
    return error.exit_code, f"{message}{'' if message.endswith(('.', '?', '!')) else '.'}{hint}"


def _aws_error(error: BaseException | None) -> tuple[int, str] | None:
    """Exit code and message of a botocore error; None for any other."""
    if error is None or "botocore" not in sys.modules:
        return None
    from botocore import exceptions as botocore

    if isinstance(error, botocore.ClientError):
        code, text = error_code(error), error_message(error)
        if is_credentials_refused(error):
            return 3, f"AWS rejects the credentials ({code}: {text}). {LOG_IN}"
        from dda_core.failures import guidance_for

        failure = guidance_for(error)
        remedy = "" if failure.fallback else f". {failure.remedy}"
        return 4, f"AWS {error.operation_name} failed: {code}: {text.rstrip('.')}{remedy}"
    if isinstance(
        error,
        botocore.NoCredentialsError
        | botocore.PartialCredentialsError
        | botocore.CredentialRetrievalError
        | botocore.TokenRetrievalError
        | botocore.UnauthorizedSSOTokenError
        | botocore.SSOError,
    ):
        return 3, f"there are no usable AWS credentials: {error}. {LOG_IN}"
    if isinstance(error, botocore.ConfigParseError | botocore.ConfigNotFound):
        return 3, f"{error}. Correct the file, or set AWS_CONFIG_FILE to another one."
    if isinstance(
        error,
        botocore.InvalidConfigError
        | botocore.InvalidRegionError
        | botocore.InvalidRetryConfigurationError
        | botocore.InvalidProxiesConfigError
        | botocore.InvalidDefaultsMode
        | botocore.InvalidSTSRegionalEndpointsConfigError
        | botocore.InvalidS3UsEast1RegionalEndpointConfigError
        | botocore.UnsupportedS3ConfigurationError
        | botocore.EndpointVariantError,
    ):
        return 3, f"the AWS configuration cannot be used: {error} Correct the AWS_... variable or the AWS profile."
    if isinstance(error, botocore.ProfileNotFound):
        return 3, f"{error}. Correct AWS_PROFILE, or add the profile with `aws configure`."
    if isinstance(error, botocore.NoRegionError):
        return 3, f"{error} Set AWS_DEFAULT_REGION, or a region in the AWS profile."
    if isinstance(error, botocore.EndpointConnectionError | botocore.ConnectionError | botocore.HTTPClientError):
        return 4, f"AWS cannot be reached: {error} Check the network, the Region and AWS_ENDPOINT_URL."
    if isinstance(error, botocore.BotoCoreError):
        return 4, f"AWS call failed: {error}"
    return None
