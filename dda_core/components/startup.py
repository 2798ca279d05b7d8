"""The startup script of a model component: a bounded wait for the device's files, then the conversion of the model.

AWS IoT Greengrass calls LocalServer running seconds before LocalServer has copied its converter, so on a fresh device
the line alone fails, and the deployment with it. Greengrass replaces ``{name:...}`` in scripts: the wait has no braces.
"""

from __future__ import annotations

import re

LOOK_SECONDS = 5
"""Between two looks for the files."""
PLAIN_TIMEOUT_SECONDS = 900
CONVERSION_SECONDS = 1200
"""What the converter may take after the longest wait."""

FILES = ("/aws_dda/model_convertor.py", "/aws_dda/convert_model_cleanup.py")
COPIED_LAST = tuple(
    f"/aws_dda/resources_for_copy/{name}"
    for name in ("ensemble_model", "lfv_model_template.py", "marshal_for_capture_template.py")
)
"""What LocalServer copies after the files above; the folder itself is there too early."""

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
  [ "$pause" -gt {LOOK_SECONDS} ] && pause={LOOK_SECONDS}
  sleep "$pause"
  waited=$((waited + pause))
done
"""
_ANY_WAIT = re.compile(re.escape(_WAIT).replace("%s", r"\d+"))


def startup_line(component: str, version: str, folder: str) -> str:
    """The line that hands the unpacked package to the device's converter; ``folder`` is the ZIP's name without .zip."""
    return (
        "python3 /aws_dda/model_convertor.py"
        f" --unarchived_model_path {{artifacts:decompressedPath}}/{folder}/"
        f" --model_version {version} --model_name {component}"
    )


def startup_script(line: str, wait_seconds: int) -> str:
    """``line`` after a wait for the device's files; with 0 seconds the line alone.

    The script looks at once and then every few seconds, and ends with 1 and a word on standard error when it has
    waited in vain.
    """
    return (_WAIT % wait_seconds) + line if wait_seconds else line


def startup_timeout(wait_seconds: int) -> int:
    """How many seconds AWS IoT Greengrass gives the whole script."""
    return wait_seconds + CONVERSION_SECONDS if wait_seconds else PLAIN_TIMEOUT_SECONDS


def without_wait(script: str) -> str:
    """The script's line after our wait, however long it waits; a script without that wait as it is."""
    match = _ANY_WAIT.match(script)
    return script[match.end() :] if match else script
