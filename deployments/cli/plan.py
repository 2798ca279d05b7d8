"""``dda plan``: the requests that a trained model would cause, without sending them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.cli.options import AsJson, ModelTar, Targets, read_model, split_names
from deployments.cli.output import print_json, print_table, printable

if TYPE_CHECKING:
    from dda_core.fleet_changes import FleetChanges
    from dda_core.targets import CompilationTarget
    from dda_core.use_case import UseCase


def plan_command(
    model_tar: ModelTar,
    model_name: Annotated[
        str, typer.Option(metavar="NAME", show_default=False, help="The model's name; the component names contain it.")
    ],
    use_case_file: Annotated[
        Path | None, typer.Option(metavar="FILE", show_default=False, help="The use case's YAML file.")
    ] = None,
    use_case: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Instead of a file: a registered use case.")
    ] = None,
    component_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The start of the component names, such as model-lid-inspection."),
    ] = None,
    component_version: Annotated[str, typer.Option(metavar="X.0.0", help="The components' version.")] = "1.0.0",
    friendly_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name that operators see on the device.")
    ] = None,
    targets: Targets = None,
    training_job: Annotated[
        str | None, typer.Option(metavar="NAME", help="Names the compilation jobs; by default the model's name does.")
    ] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what another fleet would change.")] = False,
    fleet: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --diff: the other fleet; by default a new use case's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the requests that compiling a trained archive would send to AWS, without any AWS call.

    The default targets are the use case's, or else its fleet's. Refuses archives that a device would refuse. With
    --diff, only compare the default targets and recipes with those of another fleet.
    """
    from dda_core.components.component import ComponentNames
    from dda_core.plan import check_names, plan

    if fleet is not None and not diff:
        raise typer.BadParameter("needs --diff", param_hint="--fleet")
    planned_for = _use_case(use_case_file, use_case)
    names = split_names(targets)
    chosen = planned_for.find_targets(names) if names else planned_for.default_targets()
    called = ComponentNames(model_name, component_name, friendly_name)
    check_names(chosen, called, component_version=component_version, training_job=training_job)
    model = read_model(model_tar)

    def plan_for(one: UseCase, targets: Iterable[CompilationTarget]) -> dict[str, Any]:
        return plan(model, one, targets, called, component_version=component_version, training_job=training_job)

    if diff:
        from dda_core.fleet_changes import fleet_changes
        from dda_core.fleets import new_fleet

        other = fleet or new_fleet().name
        compared = chosen if names else ()
        _show_changes(fleet_changes(planned_for, other, compared, recipe=partial(_recipe, plan_for)), as_json=as_json)
        return
    planned = plan_for(planned_for, chosen)
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
    file = planned["manifest"]["compilable_models"][0]
    typer.echo(f"\nModel file {file['filename']}, input {file['data_input_config']['input']}. --json shows everything.")


def _use_case(file: Path | None, name: str | None) -> UseCase:
    """The use case in that file, or the registered one of that name."""
    if (file is None) is (name is None):
        raise typer.BadParameter(
            "give either a file or the name of a registered use case", param_hint="--use-case-file"
        )
    if file is not None:
        from dda_core.use_case import read_use_case

        return read_use_case(file)
    from deployments.services.unused_objects import registered

    (use_case,) = registered(name).values()
    return use_case


def _recipe(
    plan_for: Callable[[UseCase, Iterable[CompilationTarget]], dict[str, Any]],
    use_case: UseCase,
    target: CompilationTarget,
) -> dict[str, Any]:
    return dict(plan_for(use_case, [target])["components"][target.name]["recipe"])


def _show_changes(changes: FleetChanges, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "fleet": {"before": changes.before, "after": changes.after},
                "default_targets": {"added": changes.added, "removed": changes.removed},
                "diffs": {name: change.model_dump(mode="json") for name, change in changes.targets.items()},
            }
        )
        return
    typer.echo(f"Fleet {changes.before}, compared with {changes.after}.")
    for what, names in (("added", changes.added), ("removed", changes.removed)):
        if names:
            typer.echo(f"Default targets {what}: {', '.join(names)}.")
    same = [name for name, change in changes.targets.items() if not change.diff]
    if same:
        typer.echo(f"Unchanged recipes: {', '.join(same)}.")
    for name, change in changes.targets.items():
        if change.diff:
            typer.echo("\n".join(["", name, *map(printable, change.diff)]))
        if change.refused:
            typer.echo(printable(f"{name}: {change.refused}"))
    if len(same) < len(changes.targets):
        typer.echo(
            "\nAn existing version is adopted, and not published again for another fleet's LocalServer. To publish a "
            "new one, name the LocalServer in the use case's localserver."
        )
