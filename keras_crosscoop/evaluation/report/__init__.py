"""Reports: one run, or several runs side by side, as a self-contained HTML page."""

from keras_crosscoop.evaluation.report.comparison import write_comparison
from keras_crosscoop.evaluation.report.run_report import write_report

__all__ = ["write_comparison", "write_report"]
