"""The startup script of a model component: a bounded wait for LocalServer's files, then the conversion of the model.

AWS IoT Greengrass reports LocalServer as RUNNING seconds before LocalServer has copied its converter. On a fresh device
the command alone would therefore fail, and with it the deployment. The script has no braces in its wait, because
Greengrass replaces ``{name:...}`` in scripts.
"""

from __future__ import annotations

import re

POLL_SECONDS = 5
"""Between two checks for the files."""
PLAIN_TIMEOUT_SECONDS = 900
CONVERSION_SECONDS = 1200
"""Time for the converter after the longest wait."""

FILES = ("/aws_dda/model_convertor.py", "/aws_dda/convert_model_cleanup.py")
COPIED_LAST = tuple(
    f"/aws_dda/resources_for_copy/{name}"
    for name in ("ensemble_model", "lfv_model_template.py", "marshal_for_capture_template.py")
)
"""The files that LocalServer copies after the ones above; their folder already exists earlier."""

_WAIT = f"""\
limit=%s
waited=0
while :; do
  missing=
  for path in {" ".join(FILES)}; do
    [ -f "$path" ] || missing="$missing $path"
  done
  for path in {" ".join(COPIED_LAST)}; do
    [ -e "$path" ] || missing="$missing $path"
  done
  [ -z "$missing" ] && break
  if [ "$waited" -ge "$limit" ]; then
    echo "LocalServer has not copied its files within $limit seconds; missing:$missing" >&2
    exit 1
  fi
  pause=$((limit - waited))
  [ "$pause" -gt {POLL_SECONDS} ] && pause={POLL_SECONDS}
  sleep "$pause"
  waited=$((waited + pause))
done
"""
_ANY_WAIT = re.compile(re.escape(_WAIT).replace("%s", r"\d+"))


def startup_line(component: str, version: str, folder: str) -> str:
    """The command that runs the device's converter on the package; ``folder`` is the ZIP's name without .zip."""
    return (
        "python3 /aws_dda/model_convertor.py"
        f" --unarchived_model_path {{artifacts:decompressedPath}}/{folder}/"
        f" --model_version {version} --model_name {component}"
    )


def startup_script(line: str, wait_seconds: int) -> str:
    """``line``, preceded by a wait for LocalServer's files unless ``wait_seconds`` is 0.

    The script checks immediately and then every few seconds. After ``wait_seconds`` it prints what is missing to
    standard error and exits with 1.
    """
    return (_WAIT % wait_seconds) + line if wait_seconds else line


def startup_timeout(wait_seconds: int) -> int:
    """AWS IoT Greengrass's timeout for the whole script, in seconds."""
    return wait_seconds + CONVERSION_SECONDS if wait_seconds else PLAIN_TIMEOUT_SECONDS


def without_wait(script: str) -> str:
    """The script without our wait, of whatever length; other scripts are returned unchanged."""
    match = _ANY_WAIT.match(script)
    return script[match.end() :] if match else script
