"""``dda plan``: what would be sent to AWS for a trained model, without sending it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployments.cli.options import AsJson, ModelTar, Targets, read_model, split_names
from deployments.cli.printing import print_json, print_table


def plan_command(
    model_tar: ModelTar,
    use_case_file: Annotated[Path, typer.Option(metavar="FILE", show_default=False, help="The use case's YAML file.")],
    model_name: Annotated[
        str, typer.Option(metavar="NAME", show_default=False, help="What the model is called; it names the component.")
    ],
    component_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the components' names start with, such as model-lid-inspection."),
    ] = None,
    component_version: Annotated[str, typer.Option(metavar="X.0.0", help="The components' version.")] = "1.0.0",
    friendly_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name that operators see on the device.")
    ] = None,
    targets: Targets = None,
    training_job: Annotated[
        str | None, typer.Option(metavar="NAME", help="Names the compilation jobs; without it the model's name does.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what compiling a trained archive would send to AWS, without any AWS call.

    Without --targets the use case's are taken, else the first four. What a device would refuse is refused.
    """
    from dda_core.plan import check_names, plan
    from dda_core.targets import find_targets
    from dda_core.use_case import read_use_case

    use_case = read_use_case(use_case_file)
    names = split_names(targets)
    chosen = find_targets(names) if names else use_case.default_targets()
    check_names(
        chosen,
        model_name=model_name,
        component_name=component_name,
        component_version=component_version,
        training_job=training_job,
    )
    planned = plan(
        read_model(model_tar),
        use_case,
        chosen,
        model_name=model_name,
        component_name=component_name,
        component_version=component_version,
        friendly_name=friendly_name,
        training_job=training_job,
    )
    if as_json:
        print_json(planned)
        return
    requests, components = planned["compile_requests"], planned["components"]
    print_table(
        ["target", "compilation job", "component", "version"],
        [
            [target, request["CompilationJobName"], components[target]["name"], components[target]["version"]]
            for target, request in requests.items()
        ],
    )
    model = planned["manifest"]["compilable_models"][0]
    typer.echo(
        f"\nModel file {model['filename']}, input {model['data_input_config']['input']}. --json shows all of it."
    )
