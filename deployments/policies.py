"""The IAM policies of the project's roles, made from files with placeholders.

Each policy is a file in ``deployments/aws/policies``; the names of trust policies end in ``-trust``. ``${Account}`` and
the like are placeholders, which ``envsubst`` can fill in too.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).with_name("aws") / "policies"


def policy_names() -> list[str]:
    """The names of all policies, which are their file names without the extension, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def policy(name: str, **values: str) -> dict[str, Any]:
    """The policy of that name, with its placeholders replaced by ``values``.

    Raises:
        KeyError: a placeholder has no value.
    """
    text = Template((FOLDER / f"{name}.json").read_text(encoding="utf-8")).substitute(values)
    content: dict[str, Any] = json.loads(text)
    return content
