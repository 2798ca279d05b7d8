"""History pages: the attempts of a training job, and a model's runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dda_core.pages.links import OVERVIEW, Ui
from dda_core.pages.markdown import cell, hover, link, table
from dda_core.pages.overview import RUN_MARKS, moment, stamp
from dda_core.runs.history import AttemptStatus, HistoryRow
from dda_core.runs.status import TargetStatus
from dda_core.runs.view import RunView
from dda_core.sanitise import sanitise

ATTEMPT_MARKS = {
    AttemptStatus.NOT_STARTED: "⚪",
    AttemptStatus.COMPILING: "🔵",
    AttemptStatus.PACKAGING: "🟣",
    AttemptStatus.PUBLISHING: "🟠",
    AttemptStatus.DEPLOYABLE: "🟢",
    AttemptStatus.FAILED: "🔴",
    AttemptStatus.STOPPED: "⬛",
    AttemptStatus.CRASHED: "💥",
}
SHOWN = 500
"""The newest attempts shown on a history page; `dda history` shows all."""
_REASON = 48


def history_page(training_job: str, rows: Sequence[HistoryRow], ui: Ui) -> str:
    """Every attempt of a training job as Markdown, oldest first. It holds no account ids or secrets."""
    parts = [
        f"# History of {cell(training_job)}",
        f"{len(rows)} attempts. [All training jobs]({ui.artifact(OVERVIEW)}), "
        f"{link('all runs of this one', ui.runs(f'training-job:{training_job}'))}.",
    ]
    if len(rows) > SHOWN:
        parts.append(f"The newest {SHOWN} are shown; `dda history {training_job}` shows all.")
    if rows:
        parts.append(
            table(
                ["started (UTC)", "target", "attempt", "status", "seconds", "job", "version", "reason", "run"],
                [_attempt(row, ui) for row in rows[-SHOWN:]],
                right=["attempt", "seconds"],
            )
        )
    else:
        parts.append("No attempts yet.")
    return sanitise("\n\n".join(parts) + "\n", mask_accounts=True, keep=[training_job])


def _attempt(row: HistoryRow, ui: Ui) -> list[str]:
    reason = " ".join((row.reason or "").split())
    short = reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"
    ended = f"ended {moment(row.ended)}" if row.ended else "not ended"
    return [
        stamp(row.started),
        cell(row.target),
        cell(row.attempt),
        f"{ATTEMPT_MARKS[row.status]}&nbsp;{row.status}",
        hover("-" if row.seconds is None else f"{row.seconds:.1f}", ended),
        cell(row.compilation_job),
        hover(cell(row.version), row.component or ""),
        hover(cell(short), reason if short != reason else ""),
        link(cell(row.trigger), ui.run(row.flow_run_id)),
    ]


def model_page(model: str, runs: Sequence[RunView], ui: Ui) -> str:
    """The last runs of a model side by side, newest first. It holds no account ids or secrets."""
    parts = [
        f"# Model {cell(model)}",
        f"Its last runs, newest first. {link('All runs of the model', ui.runs(f'model:{model}'))}, "
        f"[all training jobs]({ui.artifact(OVERVIEW)}). Every run adds a version of this page.",
        table(
            ["started (UTC)", "run of", "status", "deployable", "longest target"],
            [
                [
                    stamp(run.began),
                    _run_of(run, ui),
                    f"{RUN_MARKS[run.status]}&nbsp;{run.status}",
                    f"{sum(line.status.good for line in run.lines)}/{len(run.lines)}",
                    _seconds(max((line.seconds for line in run.lines if line.seconds is not None), default=None)),
                ]
                for run in runs
            ],
            right=["deployable", "longest target"],
        ),
    ]
    for target in dict.fromkeys(line.target for run in runs for line in run.lines):
        parts += [f"## {cell(target)}", _one_target(runs, target, ui)]
    return sanitise("\n\n".join(parts) + "\n", mask_accounts=True, keep=[model, *(run.training_job for run in runs)])


def _run_of(run: RunView, ui: Ui) -> str:
    name = cell(run.training_job)
    return link(name, ui.run(run.flow_run_id)) if run.flow_run_id else name


def _one_target(runs: Sequence[RunView], target: str, ui: Ui) -> str:
    found = [(run, line) for run in runs for line in run.lines if line.target == target]
    sizes = _changes([line.facts.package_bytes for _, line in found], _size)
    compiling = _changes([line.facts.compile_seconds for _, line in found], _seconds)
    return table(
        ["run of", "status", "total", "in the queue", "compiling", "package", "version", "attempt"],
        [
            [
                _run_of(run, ui),
                f"{_mark(line.status)}&nbsp;{line.status}",
                _seconds(line.seconds),
                _seconds(line.facts.queue_seconds),
                taken,
                size,
                hover(cell(line.version), line.component or ""),
                cell(line.attempt),
            ]
            for (run, line), size, taken in zip(found, sizes, compiling, strict=True)
        ],
        right=["total", "in the queue", "compiling", "package", "attempt"],
    )


def _changes(values: Sequence[float | None], shown: Callable[[float | None], str]) -> list[str]:
    """Each value with its change from the next older known one."""
    texts = []
    for index, value in enumerate(values):
        older = next((each for each in values[index + 1 :] if each), None)
        change = f" ({(value - older) / older:+.0%})" if value is not None and older else ""
        texts.append(shown(value) + change)
    return texts


def _mark(status: TargetStatus) -> str:
    return "⏩" if status is TargetStatus.SKIPPED else ATTEMPT_MARKS[AttemptStatus(status.value)]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}&nbsp;s"


def _size(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value / 1e6:.1f}&nbsp;MB" if value >= 1e6 else f"{value / 1e3:.1f}&nbsp;kB"
