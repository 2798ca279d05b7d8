"""Step three: build the ZIP that devices unpack from the compiled archive."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from prefect import get_run_logger
from prefect.cache_policies import DEFAULT

from dda_core.archives.source import open_source
from dda_core.aws.calls import run_stoppable
from dda_core.aws.s3 import Bucket
from dda_core.compilation.job import CompiledModel
from dda_core.device.folder import Expectation
from dda_core.device.manifest import doubts
from dda_core.model.package import ModelPackage, package_to_s3
from dda_core.targets import CompilationTarget
from tasks.decorators import task
from tasks.run import current_run


class Packaged(NamedTuple):
    """A target's package: its ``s3://`` URI, its size in bytes, and the compilation job of its model."""

    uri: str
    size: int
    compilation_job: str

    @property
    def digest(self) -> str:
        """The 12 hex digits in the package's name, derived from its content."""
        return self.uri.rpartition("/")[2].partition("_")[0]


@task(name="package", task_run_name="package[{target}]", cache_policy=DEFAULT, persist_result=True)
async def package_model(
    target: str, compiled: CompiledModel, manifest: dict[str, Any], compiled_for: CompilationTarget
) -> ModelPackage:
    """Stream the compiled archive into a ZIP in the use case's bucket.

    A package that a device could not run fails the target before anything is visible. What only the device can check
    is logged as a warning.
    """
    run = current_run()

    def package(stop: threading.Event) -> ModelPackage:
        source = open_source(compiled.artifact, run.aws.s3)
        return package_to_s3(
            source,
            manifest,
            Bucket(run.aws.s3, run.use_case.s3_bucket),
            stop=stop,
            run_id=run.flow_run_id,
            expected=Expectation.of(compiled_for),
        )

    made = await run_stoppable(
        package, limit=run.settings.package_timeout_seconds, what=f"packaging {compiled.artifact}"
    )
    get_run_logger().info(f"{target}: {made.name} holds {made.members} files in {made.size:,} bytes")
    said = doubts(manifest)  # already logged once for the run, when the trained archive was read
    for warning in made.warnings:
        if warning not in said:
            get_run_logger().warning("%s: %s", target, warning)
    return made
