"""Figures of a run: pure functions from opened results to matplotlib figures, and `draw_run`, which saves them all."""

from hepatojax.report.figures.gallery import draw_run

__all__ = ["draw_run"]
