"""The types of the flow's parameters: what the form in the Prefect UI offers, and what the server refuses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, WithJsonSchema

from dda_core.naming import COMPONENT_BASE_PATTERN, JOB_NAME_PATTERN
from dda_core.targets import target_names

TrainingJobName = Annotated[str, Field(pattern=f"^{JOB_NAME_PATTERN.pattern}$", max_length=63)]
"""A SageMaker training job's name."""

TargetName = Annotated[str, WithJsonSchema({"type": "string", "enum": list(target_names())})]
"""A target of the table. The table is data, so the choice is made from it when this module is loaded; the deployment of
a use case offers what its devices run, its own targets too."""

OptionalText = Annotated[str | None, WithJsonSchema({"type": "string"})]
"""A text that may be left out, then empty. As a choice between text and null the form would ask which of the two."""

ComponentBaseName = Annotated[
    str | None,
    WithJsonSchema({"type": "string", "pattern": f"^({COMPONENT_BASE_PATTERN.pattern})?$", "maxLength": 128}),
]
"""What a component's name starts with; each target's name is added to it. It may be left out."""
