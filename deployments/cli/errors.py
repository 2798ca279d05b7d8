"""What the command line says when something goes wrong: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer
from pydantic import ValidationError

from dda_core.exceptions import AwsCallFailed, DdaError
from dda_core.sanitised_errors import masked
from dda_core.validation import explained
from deployments.cli.printing import printable

EXIT_CODES = {
    0: "ok",
    1: "some target failed, an input was refused, or verify found something",
    2: "usage",
    3: "configuration or credentials",
    4: "an AWS error",
    130: "interrupted",
}

DEBUG = "DDA_DEBUG"
"""The environment variable that makes errors show where they come from."""

DEFECT = f"This is a defect of dda: please report it, with what {DEBUG}=1 shows."

CREDENTIAL_CODES = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Codes by which AWS says that the credentials, not the request, are at fault."""

LOG_IN = (
    "Run `aws configure` or `aws sso login`, set AWS_PROFILE, or, for the local AWS, run: "
    'eval "$(dda local env)". `dda config show` tells what is in force.'
)
NOT_WRITABLE = frozenset(
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.EEXIST}
)


def report(error: Exception) -> int:
    """Print the error on standard error as a person should read it; the exit code to end with."""
    if os.environ.get(DEBUG):
        print(masked("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    code, message = _explain(error)
    if message:
        print(f"error: {printable(masked(message))}", file=sys.stderr)
    return code


def _explain(error: Exception) -> tuple[int, str]:
    if isinstance(error, DdaError):
        # A refused call may be about the credentials after all; its cause tells.
        aws = _aws_error(error.__cause__) if isinstance(error, AwsCallFailed) else None
        return aws if aws and aws[0] == 3 else (error.exit_code, str(error))
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return 130, "aborted"
    if aws := _aws_error(error):
        return aws
    if isinstance(error, ValidationError):
        return 1, f"unexpected {error.title}: {explained(error, quoted=())}. {DEFECT}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return 2 if error.errno in NOT_WRITABLE else 1, f"{where}{error.strerror or error}"
    return 1, f"unexpected {type(error).__name__}: {' '.join(str(error).split())}. {DEFECT}"


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
        details = error.response.get("Error", {})
        code, text = details.get("Code", ""), details.get("Message") or str(error)
        if code in CREDENTIAL_CODES:
            return 3, f"AWS does not accept the credentials ({code}: {text}). {LOG_IN}"
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
    if isinstance(error, botocore.ProfileNotFound):
        return 3, f"{error}. Correct AWS_PROFILE, or add the profile with `aws configure`."
    if isinstance(error, botocore.NoRegionError):
        return 3, f"{error} Set AWS_DEFAULT_REGION, or a region in the AWS profile."
    if isinstance(error, botocore.EndpointConnectionError | botocore.ConnectionError | botocore.HTTPClientError):
        return 4, f"AWS cannot be reached: {error} Check the network, the Region and AWS_ENDPOINT_URL."
    if isinstance(error, botocore.BotoCoreError):
        return 4, f"AWS call failed: {error}"
    return None
