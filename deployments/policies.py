"""The IAM policies of the project's roles: files with placeholders, and the policies that they make.

Each role has a file below ``deployments/aws/policies``; ``-trust`` stands in the names of those that say who may
assume it. ``${Account}`` and the like are placeholders, which ``envsubst`` fills in too.
"""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

FOLDER = Path(__file__).with_name("aws") / "policies"


def policy_names() -> list[str]:
    """The names of every policy: those of the files without their ending, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def policy(name: str, **values: str) -> dict[str, Any]:
    """The policy of that name, with ``values`` in place of its placeholders.

    Raises:
        KeyError: a placeholder has no value.
    """
    text = Template((FOLDER / f"{name}.json").read_text(encoding="utf-8")).substitute(values)
    content: dict[str, Any] = json.loads(text)
    return content
