"""The answer for a terminal: the words, one line per cell, and what was left out."""

from __future__ import annotations

from ssl_rot.report.comparison.published import against_published
from ssl_rot.report.page import cell_tables, run_tables
from ssl_rot.report.page.rendering import Report


def write_short_version(report: Report) -> str:
    """The text that the report and a sweep print."""
    lines = [" ".join(report.headline), report.tuning, report.scope]
    if len(report.cells) > 0:
        lines.append(f"\n{cell_tables.verdict_table(report.cells).to_text()}")
    published = run_tables.published_table(against_published(report.runs))
    if published.rows:
        lines.append(f"\nCompared with published results:\n{published.to_text()}")
    for title, column in (("Left out", "left_out"), ("Remarks", "remark")):
        counts = run_tables.count_values(text for text in report.pairs[column] if text)
        if counts:
            lines.append(f"\n{title} ({sum(count for _, count in counts)}):")
        lines += [f"  {count} x {text}" for text, count in counts]
    return "\n".join(lines)
