"""Writes ``docs/reference.md`` from the code: ``python -m deployments.reference``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from typer import Context
from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from dda_core.device.facts import PREFIXES
from dda_core.device.findings import Failure
from dda_core.device.rules import RuleGroup, device_rules
from dda_core.failures import CatalogueRow, catalogue
from dda_core.fleets import Fleet, all_fleets, new_fleet
from dda_core.settings import Settings
from dda_core.targets import all_targets
from deployments.cli.app import app
from deployments.cli.errors import DEBUG, EXIT_CODES

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"

SHOWN = 4
"""Texts shown of a catalogue row that has more."""

HEAD = """\
# Reference

Written by `python -m deployments.reference` from the code; a test fails when it is out of date.
"""
WORDS = """\
## Status words

A target is `not-started`, `compiling`, `packaging` or `publishing`, and ends as `deployable`, `failed`, `stopped` or
`skipped` (it was deployable already). A run is `not-started` or `in-progress`, and ends as `completed` (every target is
deployable or skipped), `partial` (some are) or `failed` (none is).
"""


def reference() -> str:
    """The whole page, in Markdown."""
    parts = [HEAD, _targets(), _fleets(), _verbs(), _exit_codes(), _settings(), WORDS, _device(), _failures()]
    return "\n".join(parts)


def _targets() -> str:
    rows = [
        [
            f"`{target.name}`" + (" (default)" if target.name in new_fleet().targets else ""),
            ", ".join(f"`{alias}`" for alias in target.aliases),
            "/".join(target.neo_platform().values()),
            f"`{target.compiler_options}`" if target.compiler_options else "",
            target.platform,
            f"`{target.suffix}`",
            f"refused: {target.unavailable}" if target.unavailable else "",
        ]
        for target in all_targets()
    ]
    head = ["target", "aliases", "Neo platform", "compiler options", "platform", "in job names", ""]
    return (
        "## Targets\n\nTo add one, add a row to `dda_core/targets.yaml`; a use case can add its own in its "
        f"`targets_file`. A new use case compiles the default ones unless told otherwise.\n\n{_table(head, rows)}"
    )


def _fleets() -> str:
    fleets = all_fleets()
    rows = [
        [f"`{target.name}`", *(_localserver(fleet, target.name) for fleet in fleets)]
        for target in all_targets()
        if any(target.name in fleet.localserver for fleet in fleets)
    ]
    about = [f"- `{fleet.name}`: {fleet.purpose} By default: {', '.join(fleet.targets)}." for fleet in fleets]
    return (
        "## Fleets\n\nA use case's `fleet` decides which LocalServer component its model components depend on. To add "
        "a fleet, add a row to `dda_core/fleets.yaml`.\n\n"
        + "\n".join(about)
        + f"\n\n{_table(['target', *(f'`{fleet.name}`' for fleet in fleets)], rows)}"
    )


def _localserver(fleet: Fleet, target: str) -> str:
    if name := fleet.localserver.get(target):
        return f"`{name}`"
    return f"must be named in `localserver`: {fleet.refused[target]}" if target in fleet.refused else ""


def _verbs() -> str:
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    sections = [_verb(context) for context in _leaves(root, Context(root, info_name="dda"))]
    return "## Verbs\n\n" + "\n".join(sections)


def _leaves(command: Any, context: Context) -> Iterator[Context]:
    if not isinstance(command, TyperGroup):
        yield context
        return
    for name in command.list_commands(context):
        child: Any = command.get_command(context, name)
        yield from _leaves(child, Context(child, info_name=name, parent=context))


def _verb(context: Context) -> str:
    command = context.command
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    usage = " ".join([context.command_path, *(_placeholder(each) for each in arguments)])
    text = " ".join((command.help or "").split())
    rows = [[f"`{_placeholder(each)}`", _help(each)] for each in arguments]
    rows += [[_option(each), _help(each)] for each in command.params if each not in arguments]
    table = "\n" + _table(["argument or option", "meaning"], rows) if rows else ""
    return f"### `{usage}`\n\n{text}\n{table}"


def _placeholder(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper()


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    choices = getattr(option.type, "choices", None)
    plain = option.type.name.upper().removesuffix(" RANGE").replace("STR", "TEXT")
    value = " or ".join(f"`{choice}`" for choice in choices) if choices else option.metavar or plain
    return f"{names} {value}"


def _help(parameter: Any) -> str:
    text = " ".join((getattr(parameter, "help", None) or "").split())
    if isinstance(parameter, TyperArgument):
        return text
    if parameter.required:
        return f"{text} Required."
    default = parameter.default
    if isinstance(parameter.show_default, str):
        return f"{text} Default: {parameter.show_default}."
    if default in (None, "") or parameter.is_flag:
        return text
    return f"{text} Default: `{getattr(default, 'value', default)}`."


def _exit_codes() -> str:
    rows = [[str(code), meaning] for code, meaning in EXIT_CODES.items()]
    return (
        f"## Exit codes\n\n{_table(['code', 'meaning'], rows)}\n"
        f"An error is one line on standard error. `{DEBUG}=1` adds the traceback.\n"
    )


def _settings() -> str:
    rows = [
        [f"`DDA_{name.upper()}`", f"`{field.default}`", field.description or ""]
        for name, field in Settings.model_fields.items()
    ]
    return (
        "## Settings\n\nEnvironment variables; `dda config show` shows the effective values. Times are in seconds.\n\n"
        + _table(["variable", "default", "meaning"], rows)
    )


def _device() -> str:
    rules = device_rules()
    types = [
        [
            "<br>".join(f"`{name}`" for name in row.names),
            row.runtime,
            f"refused: {row.reason}" if row.refused else ", ".join(row.groups),
        ]
        for row in rules.stage_types
    ]
    groups: list[tuple[str, RuleGroup]] = [("every type", rules.common), *rules.groups.items()]
    keys = [
        [
            name,
            f"`{PREFIXES[row.place]}{row.key}`",
            f"{row.expected}{_when(row.when)}",
            " / ".join(dict.fromkeys(filter(None, (row.missing and f"missing: {row.missing}", str(row.wrong_value))))),
            row.source,
        ]
        for name, group in groups
        for row in group.keys
    ]
    relations = [
        [name, f"`{row.rule}`", f"{row.expected}{_when(row.when)}", f"{row.failure} ({row.weight})", row.source]
        for name, group in groups
        for row in group.relations
    ]
    files = [
        [
            f"`{row.name or '*' + str(row.ends)}`",
            f"{row.at_least} to {row.at_most}",
            row.what,
            str(row.failure),
            row.source,
        ]
        for row in rules.compiled
    ]
    effects = "".join(f"- `{failure}`: {failure.effect}\n" for failure in Failure)
    return (
        "## What a device needs\n\n"
        "The rules of `dda_core/device/device_rules.yaml`, checked on the trained archive before any job is started, "
        "on the compiled archive, and on the package. Source `run` was observed by running the device's code, `read` "
        f"only by reading it. A breach has one of these effects:\n\n{effects}\n"
        f"### Stage types\n\n{_table(['type', 'runtime', 'groups of rules'], types)}\n"
        f"### Keys\n\n{_table(['for', 'key', 'must be', 'otherwise', 'source'], keys)}\n"
        f"### Between keys\n\n{_table(['for', 'rule', 'must be', 'otherwise', 'source'], relations)}\n"
        f"### Files of a compiled model\n\n"
        f"{_table(['file', 'how many', 'what', 'otherwise', 'source'], files)}\n"
        f"The network is in files that end in {' or '.join(' and '.join(row.ends) for row in rules.backends)}; "
        f"`.meta` is strict JSON whose `Requirements.TargetDeviceType` is one of {', '.join(rules.device_types)}; "
        f"every library is a 64-bit ELF file for the target's architecture.\n"
    )


def _when(conditions: Sequence[str]) -> str:
    return f"; where {', '.join(conditions)}" if conditions else ""


def _failures() -> str:
    rows = [
        [
            "<br>".join([_match(row, fragments) for fragments in row.match[:SHOWN]] + ["…"] * (len(row.match) > SHOWN)),
            row.cause,
            row.remedy,
            row.retry,
            row.source,
        ]
        for row in catalogue().rows
    ]
    return (
        "## Failures\n\n"
        "`dda explain TEXT` looks up a text; the longest match wins. To add a failure, add a row to "
        "`dda_core/failures.yaml`. The retry class says whether a retry can help: `never`; `backoff`, a limited number "
        "of times; `quota`, once the account has a free slot; `reconcile`, after the state in AWS was read again.\n\n"
        + _table(["text", "cause", "what to do", "retry", "source"], rows)
    )


def _match(row: CatalogueRow, fragments: tuple[str, ...]) -> str:
    texts = " and ".join(f"`{fragment}`" for fragment in fragments if fragment)
    if not texts:
        return "anything else"
    return f"{texts} ({row.service})" if row.service else texts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
    sys.stderr.write(f"Wrote {REFERENCE}.\n")
