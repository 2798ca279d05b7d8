"""The types of the flow's parameters, for the form in the Prefect UI and the server's validation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, WithJsonSchema

from dda_core.naming import COMPONENT_BASE_PATTERN, JOB_NAME_PATTERN
from dda_core.targets import target_names

TrainingJobName = Annotated[str, Field(pattern=f"^{JOB_NAME_PATTERN.pattern}$", max_length=63)]
"""A SageMaker training job's name."""

TargetName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(target_names())})]
"""A target of the table, read when this module is imported. A use case's deployment offers the targets that its devices
run, including its own."""

OptionalText = Annotated[str | None, WithJsonSchema({"type": "string"})]
"""An optional text, empty by default. For a union of text and null the form would ask which of the two."""

ComponentBaseName = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": f"^({COMPONENT_BASE_PATTERN.pattern})?$", "maxLength": 128}),
]
"""The start of a component's name, to which each target's name is appended. Optional."""
