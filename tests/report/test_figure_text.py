"""Text in the report's figures comes from users."""

from __future__ import annotations

from matplotlib.figure import Figure

from ssl_rot.report.page.figures.report_figure import report_style


def test_it_is_never_parsed_as_math():
    with report_style():
        assert not Figure().text(0, 0, "$5_$10").get_parse_math()
