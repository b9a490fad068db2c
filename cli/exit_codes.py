"""The exit codes of `crosscoop-tf` other than 0."""

FOUND_FAILURES = 1  # the command completed and listed failures
BAD_INPUT = 2
INTERRUPTED = 130  # the shells' code for Ctrl-C
