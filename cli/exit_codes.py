"""What `crosscoop-tf` exits with when it is not 0."""

FOUND_FAILURES = 1  # the work found some, and lists them
BAD_INPUT = 2
INTERRUPTED = 130  # as shells have it for Ctrl-C
