"""The page of a run as Markdown: each target's status, where its files are, and why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from dda_core import naming
from dda_core.pages.links import component_link, job_link, object_link
from dda_core.pages.markdown import cell, hover, link, table
from dda_core.pages.timeline import timeline_image
from dda_core.runs.history import TargetLine
from dda_core.runs.status import TargetStatus, run_status
from dda_core.sanitise import sanitise

MARKS = {
    TargetStatus.NOT_STARTED: "⚪",
    TargetStatus.COMPILING: "🔵",
    TargetStatus.PACKAGING: "🟣",
    TargetStatus.PUBLISHING: "🟠",
    TargetStatus.DEPLOYABLE: "🟢",
    TargetStatus.FAILED: "🔴",
    TargetStatus.STOPPED: "⬛",
    TargetStatus.SKIPPED: "⏩",
}
PROGRESS = {
    TargetStatus.NOT_STARTED: 0.0,
    TargetStatus.COMPILING: 20.0,
    TargetStatus.PACKAGING: 60.0,
    TargetStatus.PUBLISHING: 80.0,
}
"""The progress of a target in percent, while in progress. Every end is 100."""


class PageContext(NamedTuple):
    """What a run's page shows besides its targets. ``notice`` is a sentence about the whole run, as Markdown."""

    training_job: str
    model_name: str | None = None
    use_case: str | None = None
    region: str | None = None
    billable_seconds: int | None = None
    notice: str | None = None


def run_page(context: PageContext, lines: Sequence[TargetLine], links: dict[str, str], now: datetime) -> str:
    """The page. ``links`` are the URLs of the runs that made what a target skipped or joined, by target.

    It holds no account ids or secrets.
    """
    status = run_status({line.target: line for line in lines})
    good = sum(line.status.good for line in lines)
    head = [f"# {cell(context.training_job)}: {status}, {good}/{len(lines)} deployable"]
    about = [
        f"{label} **{cell(value)}**"
        for label, value in (("model", context.model_name), ("use case", context.use_case), ("Region", context.region))
        if value
    ]
    if context.billable_seconds is not None:
        about.append(f"training billed **{context.billable_seconds} s**")
    before = [
        *head,
        ", ".join(about),
        context.notice or "",
        _table(context, lines, links),
        *(_failure(line) for line in lines if line.reason or line.cause),
    ]
    after = [
        _relation(context, lines),
        _resources(lines),
        *(_places(context, line) for line in lines if line.compiled_artifact or line.package),
    ]
    # Not masked: parts of its Base64 look like secrets.
    image = timeline_image(lines, now)
    names = [context.training_job, context.model_name or ""]

    def masked(text: str) -> str:
        return sanitise(text, mask_accounts=True, keep=names)

    return "\n\n".join(part for part in (*map(masked, before), image, *map(masked, after)) if part) + "\n"


def _table(context: PageContext, lines: Sequence[TargetLine], links: dict[str, str]) -> str:
    region, rows = context.region, []
    for line in lines:
        status, job, component, version = f"{MARKS[line.status]}&nbsp;{line.status}", "", cell(line.component), ""
        if line.target in links:
            status += f" ({link('by this run', links[line.target])})"
        if line.waiting and not line.status.ended:
            status += f", ⏳ {cell(line.waiting)}"
        if line.compilation_job:
            job = link(line.compilation_job, job_link(region, line.compilation_job)) if region else line.compilation_job
        if line.component and line.version:
            arn = naming.component_arn(region or "", "************", line.component, line.version)
            component = hover(component, arn)
            version = (
                link(line.version, component_link(region, line.component, line.version)) if region else line.version
            )
        seconds = f"{line.seconds:.0f}&nbsp;s" if line.seconds is not None else ""
        rows.append([line.target, status, seconds, str(line.attempt or ""), job, component, version])
    columns = ["target", "status", "duration", "attempt", "compilation job", "component", "version"]
    return table(columns, rows, right=["duration", "attempt"])


def _failure(line: TargetLine) -> str:
    parts = [f"## {MARKS[line.status]} {line.target}: {line.status}"]
    for label, text in (
        ("Reason", line.reason),
        ("Cause", line.cause),
        ("What to do", line.remedy),
        ("Will a retry help?", line.facts.will_retry_help),
    ):
        if text:
            parts.append(f"**{label}:** {cell(text)}")
    if line.facts.log_tail:
        log = "\n".join(text.replace("```", "'''") for text in line.facts.log_tail)
        parts.append(f"Last lines of the log:\n\n```text\n{log}\n```")
    return "\n\n".join(parts)


def _relation(context: PageContext, lines: Sequence[TargetLine]) -> str:
    """Training job, compiled model, package and component as a Mermaid diagram."""
    chart = ["```mermaid", "flowchart LR", f'    T["training job<br/>{_node(context.training_job)}"]']
    for number, line in enumerate(lines):
        chain = [
            (f"C{number}", "compiled model", line.compilation_job if line.compiled_artifact else None),
            (f"P{number}", "package", (line.package or "").rpartition("/")[2].partition("_")[0] or None),
            (f"G{number}", "component", f"{line.component} {line.version}" if line.version else None),
        ]
        last = "T"
        for node, what, name in chain:
            if name:
                chart.append(f'    {last} --> {node}["{what}<br/>{_node(name)}"]')
                last = node
        if last == "T":
            chart.append(f'    T -.-> C{number}["{line.target}<br/>{line.status}"]')
    return "\n".join([*chart, "```"])


def _resources(lines: Sequence[TargetLine]) -> str:
    rows = []
    for line in lines:
        facts = line.facts
        cells = [
            _seconds(facts.queue_seconds),
            _seconds(facts.compile_seconds),
            _bytes(facts.bytes_in),
            _bytes(facts.bytes_out),
            _bytes(facts.package_bytes),
            hover(f"{facts.model_digest[:12]}…", facts.model_digest) if facts.model_digest else "",
            cell((facts.inference_image or "").rpartition("/")[2]),
        ]
        if any(cells):
            rows.append([line.target, *cells])
    numbers = ["in the queue", "compiling", "input", "compiled", "package"]
    columns = ["target", *numbers, "digest", "inference image"]
    return f"## Duration and resources\n\n{table(columns, rows, right=numbers)}" if rows else ""


def _places(context: PageContext, line: TargetLine) -> str:
    parts = [f"## Where {line.target} is"]
    for what, uri in (
        ("compiled artifact", line.compiled_artifact),
        ("package", line.package),
        ("compilation log", line.facts.log_uri),
    ):
        if uri:
            at = f" ({link('in the console', object_link(context.region, uri))})" if context.region else ""
            parts.append(f"- {what}: `{uri}`{at}")
    parts.append(f"- fetch it: `dda artifacts get {context.training_job} {line.target} -o {line.target}.tar.gz`")
    return "\n".join([parts[0], "", *parts[1:]])


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}&nbsp;s"


def _bytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.1f}&nbsp;MB"


def _node(text: str) -> str:
    return text.replace('"', "'").replace("<", "&lt;")
