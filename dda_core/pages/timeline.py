"""A timeline of a run's targets, as SVG: one bar per target, one colour per phase."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from html import escape

from dda_core.runs.history import TargetLine
from dda_core.runs.status import TargetStatus

COLOURS = {
    TargetStatus.NOT_STARTED: "#d4d4d8",
    TargetStatus.COMPILING: "#3b82f6",
    TargetStatus.PACKAGING: "#a855f7",
    TargetStatus.PUBLISHING: "#f59e0b",
    TargetStatus.DEPLOYABLE: "#22c55e",
    TargetStatus.FAILED: "#ef4444",
    TargetStatus.STOPPED: "#52525b",
    TargetStatus.SKIPPED: "#86efac",
}
LABELS, BARS, ROW = 150, 560, 26
"""Widths of the labels and of the bars, and the height of a row, in pixels."""


def timeline_svg(lines: Sequence[TargetLine], now: datetime) -> str:
    """The SVG; empty if nothing has started. Bars of targets in progress end at ``now``."""
    moments = [phase.at for line in lines for phase in line.phases]
    if not moments:
        return ""
    begin = min(moments)
    total = max(
        1.0, (max([*moments, *([now] if any(not line.status.ended for line in lines) else [])]) - begin).total_seconds()
    )
    parts = []
    for row, line in enumerate(lines):
        y = 8 + row * ROW
        parts.append(f'<text x="{LABELS - 10}" y="{y + 14}" text-anchor="end">{escape(line.target)}</text>')
        for index, phase in enumerate(line.phases):
            until = (
                line.phases[index + 1].at if index + 1 < len(line.phases) else (phase.at if phase.status.ended else now)
            )
            x, width = _x(phase.at, begin, total), (until - phase.at).total_seconds() / total * BARS
            seconds = (until - phase.at).total_seconds()
            mark = phase.status.ended
            parts.append(
                f'<rect x="{x - 4 * mark:.1f}" y="{y}" width="{max(8.0 if mark else 1.0, width):.1f}" height="18" '
                f'rx="2" fill="{COLOURS[phase.status]}"><title>{phase.status}: {seconds:.1f} s</title></rect>'
            )
    bottom = 8 + len(lines) * ROW
    for tick in range(5):
        x = LABELS + tick * BARS / 4
        parts.append(f'<line x1="{x}" y1="4" x2="{x}" y2="{bottom}" stroke="#a1a1aa" stroke-width="0.5"/>')
        parts.append(f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{_duration(tick * total / 4)}</text>')
    x = LABELS
    for status, colour in COLOURS.items():
        if any(phase.status is status for line in lines for phase in line.phases):
            parts.append(f'<rect x="{x}" y="{bottom + 24}" width="10" height="10" rx="2" fill="{colour}"/>')
            parts.append(f'<text x="{x + 14}" y="{bottom + 33}">{status}</text>')
            x += 95
    width, height = LABELS + BARS + 40, bottom + 42
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="#71717a">{"".join(parts)}</svg>'
    )


def timeline_image(lines: Sequence[TargetLine], now: datetime) -> str:
    """The timeline as a Markdown image with a data URI."""
    svg = timeline_svg(lines, now)
    return (
        f"![Timeline of the targets](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
        if svg
        else ""
    )


def _x(at: datetime, begin: datetime, total: float) -> float:
    return LABELS + (at - begin).total_seconds() / total * BARS


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
