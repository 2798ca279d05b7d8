"""The overview of training jobs: one row per job, and its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, computed_field

from dda_core.pages.links import Ui
from dda_core.pages.markdown import cell, hover, link, table
from dda_core.runs.status import RunStatus, TargetRecord, TargetStatus, run_status
from dda_core.sanitise import sanitise

RUN_MARKS = {
    RunStatus.NOT_STARTED: "⚪",
    RunStatus.IN_PROGRESS: "🔵",
    RunStatus.COMPLETED: "🟢",
    RunStatus.PARTIAL: "🟡",
    RunStatus.FAILED: "🔴",
}
SHOWN = 500
"""The most rows on the page; programs and the command line get all."""


class NextAction(StrEnum):
    """What a person should do next about a training job."""

    NONE = "none"
    WAIT = "wait"
    COMPILE = "compile"
    COMPILE_FAILED = "compile-failed"
    """Compile again for the targets that failed."""
    SEE_RUN = "see-run"
    """Its run ended without a failed target: see why, then compile again."""


NEXT_STEPS = {
    NextAction.NONE: "",
    NextAction.WAIT: "Wait for a worker",
    NextAction.COMPILE: "Compile it",
    NextAction.COMPILE_FAILED: "Compile again",
    NextAction.SEE_RUN: "See the run, then compile again",
}
"""The same, in words for people."""


class TargetGlance(BaseModel):
    """One target in a row: its status, and why it failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: TargetStatus
    cause: str | None = None


class OverviewRow(BaseModel):
    """One training job: the status of its compilation over all its runs.

    ``asked`` counts all targets ever requested, ``deployable`` those that are. A job that was never compiled has no
    run; its ``last_change`` is the end of its training. ``block`` is the name of the use case's block and of its
    deployment, whose id is ``deployment_id``.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    training_job: str
    use_case: str
    block: str
    model: str
    status: RunStatus = RunStatus.NOT_STARTED
    deployable: int = 0
    asked: int = 0
    targets: dict[str, TargetGlance] = {}
    last_change: datetime | None = None
    flow_run_id: str | None = None
    deployment_id: str | None = None

    def with_targets(self, records: Mapping[str, TargetRecord], status: RunStatus | None = None) -> OverviewRow:
        """The row with these targets; ``status`` defaults to the one derived from them."""
        targets = {
            target: TargetGlance(
                status=record.status,
                cause=sanitise(record.cause or record.reason or "", mask_accounts=True) or None,
            )
            for target, record in records.items()
        }
        return self.model_copy(
            update={
                "status": status or run_status(records),
                "deployable": sum(record.status.good for record in records.values()),
                "asked": len(records),
                "targets": targets,
            }
        )

    @property
    def key(self) -> tuple[str, str]:
        """The row's unique key: two use cases may each have a training job of the same name."""
        return self.use_case, self.training_job

    @property
    def failed(self) -> list[str]:
        """The targets that ended without an installable component."""
        return [name for name, each in self.targets.items() if each.status.ended and not each.status.good]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def next_action(self) -> NextAction:
        """What a person should do next."""
        if self.status is RunStatus.NOT_STARTED:
            return NextAction.WAIT if self.flow_run_id else NextAction.COMPILE
        if self.status in (RunStatus.PARTIAL, RunStatus.FAILED):
            return NextAction.COMPILE_FAILED if self.failed else NextAction.SEE_RUN
        return NextAction.NONE


def with_row(rows: Iterable[OverviewRow], row: OverviewRow) -> list[OverviewRow]:
    """The rows, with that job's earlier row replaced."""
    return in_order([*(each for each in rows if each.key != row.key), row])


def in_order(rows: Iterable[OverviewRow]) -> list[OverviewRow]:
    """The rows, latest change first."""
    return sorted(rows, key=lambda row: (-(row.last_change.timestamp() if row.last_change else 0.0), row.key))


def next_action(row: OverviewRow) -> str:
    """What a person should do next, in words; empty if there is nothing to do."""
    sentence = NEXT_STEPS[row.next_action]
    if row.next_action is NextAction.COMPILE_FAILED:
        return f"{sentence}: {', '.join(row.failed)}"
    return sentence


def overview_page(rows: Sequence[OverviewRow], now: datetime, ui: Ui, notes: Sequence[str] = ()) -> str:
    """The page as Markdown. ``ui`` is the UI that shows it, ``notes`` are sentences about what could not be read.

    It holds no account ids or secrets.
    """
    parts = [f"# Training jobs\n\n{_counts(rows)} As of {moment(now)}."]
    if rows:
        parts += [_links(rows, ui), _rows(rows[:SHOWN], ui)]
    else:
        parts.append(FIRST_STEPS.format(deployments=ui.deployments))
    if len(rows) > SHOWN:
        parts.append(f"{len(rows) - SHOWN} more are not shown here: `dda status` lists all.")
    parts += [f"⚠️ {cell(note)}" for note in notes]
    names = [name for row in rows for name in (row.training_job, row.model)]
    return sanitise("\n\n".join(parts) + "\n", mask_accounts=True, keep=names)


FIRST_STEPS = """\
There are no training jobs yet. First steps:

1. Register a use case: `dda use-case save FILE`. `dda use-case list` shows what is registered.
2. Train a model in the use case's account. A training job belongs to the use case by its tag `dda:use-case`, or by
   having its model in the use case's bucket. It appears here once it is Completed.
3. Compile it: `dda compile TRAINING_JOB --use-case NAME`, or [Deployments]({deployments}), the use case's own
   deployment, Run."""


def moment(when: datetime | None) -> str:
    """A time in the pages' format, in UTC."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if when else ""


def stamp(when: datetime | None) -> str:
    """The same for a narrow column: it wraps only between date and time."""
    return moment(when).removesuffix(" UTC").replace("-", "\u2011")


def _counts(rows: Sequence[OverviewRow]) -> str:
    counts = [
        f"{RUN_MARKS[status]} {number} {status}"
        for status in RunStatus
        if (number := sum(row.status is status for row in rows))
    ]
    return f"{len(rows)}: {', '.join(counts)}." if counts else "None."


def _links(rows: Sequence[OverviewRow], ui: Ui) -> str:
    """Links to the runs by status, target, model and use case."""
    groups: list[tuple[str, str, Iterable[str]]] = [
        ("status", "status", [RunStatus.COMPLETED, RunStatus.PARTIAL, RunStatus.FAILED]),
        ("target", "target", {target for row in rows for target in row.targets}),
        ("failed target", "failed", {target for row in rows for target in row.failed}),
        ("model", "model", {row.model for row in rows if row.flow_run_id}),
        ("use case", "use-case", {row.use_case for row in rows if row.flow_run_id}),
    ]
    lines = []
    for label, tag, values in groups:
        names = sorted(str(value) for value in values)
        if names:
            shown = ", ".join(link(cell(name), ui.runs(f"{tag}:{name}")) for name in names[:20])
            lines.append(f"- by {label}: {shown}{' …' if len(names) > 20 else ''}")
    return "Runs:\n\n" + "\n".join(lines)


def _rows(rows: Sequence[OverviewRow], ui: Ui) -> str:
    return table(
        ["training job", "compilation", "deployable", "last change", "model", "use case", "newest", "next"],
        [
            [
                cell(row.training_job),
                hover(f"{RUN_MARKS[row.status]}&nbsp;{row.status}", _details(row)),
                hover(f"{row.deployable}/{row.asked}", _details(row)) if row.asked else "",
                stamp(row.last_change),
                cell(row.model),
                cell(row.use_case),
                link("run", ui.run(row.flow_run_id)) if row.flow_run_id else "",
                _next(row, ui),
            ]
            for row in rows
        ],
        right=["deployable"],
    )


def _next(row: OverviewRow, ui: Ui) -> str:
    what = cell(next_action(row))
    if row.next_action in (NextAction.NONE, NextAction.WAIT) or not row.deployment_id:
        return what
    return link(what, ui.form(row.deployment_id, row.block, row.training_job, row.failed))


def _details(row: OverviewRow) -> str:
    return "\n".join(
        f"{target}: {each.status}" + (f": {each.cause}" if each.cause else "") for target, each in row.targets.items()
    )
