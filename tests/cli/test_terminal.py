"""A terminal that is closed while a command runs."""

import errno
import os
import pty
import subprocess
import sys

import pytest
from crosscoop_tf.terminal import SurvivingStream

PROGRAM = """
import signal, sys, time
from crosscoop_tf.tensorflow_command import native_messages_filtered
from crosscoop_tf.terminal import survive_closed_terminal
received = []
signal.signal(signal.SIGHUP, lambda number, _: received.append(number))
with survive_closed_terminal(), native_messages_filtered("INFO: "):  # as commands run
    print("ready", flush=True)
    while not received:
        time.sleep(0.01)
    time.sleep(0.2)  # for all of the terminal to go
    print("saved", file=sys.stderr)
    print("done", flush=True)
    with open(sys.argv[1], "w") as file:
        file.write("saved")
    sys.exit(129)
"""


def own_terminal():
    """Makes the terminal on stdin the controlling one, as that of a shell."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("piped", [False, True])
def test_what_runs_there_ends_in_order(tmp_path, piped):
    """Also where stderr goes to a program that the same signal ends, such as `tee`."""
    master, slave = pty.openpty()
    read, write = os.pipe()
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "saved")]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=write if piped else slave, preexec_fn=own_terminal
    )
    os.close(slave)
    os.close(write)
    assert os.read(master, 5) == b"ready"
    os.close(read)
    os.close(master)
    assert process.wait(timeout=30) == 129
    assert (tmp_path / "saved").read_text() == "saved"


def test_other_errors_are_errors():
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        SurvivingStream(Full(), (errno.EIO,)).write("a")
