"""Reports: a run, or several side by side, as one HTML page that needs nothing else."""

from keras_crosscoop.evaluation.report.comparing import write_comparison
from keras_crosscoop.evaluation.report.measured import measure, measured
from keras_crosscoop.evaluation.report.reporting import write_report
from keras_crosscoop.evaluation.report.writing import check_new

__all__ = ["check_new", "measure", "measured", "write_comparison", "write_report"]
