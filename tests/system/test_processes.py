"""Worker processes: messages there and back, and one line for everything that goes wrong."""

import time

import pytest

from keras_crosscoop.system import processes
from keras_crosscoop.system.processes import Worker, WorkerError

ECHO = f"""
import os, runpy  # the module alone: to import the package takes seconds
messages, send = runpy.run_path({processes.__file__!r})["connect"]()
print("a print of Python")
os.write(1, b"a print of native code\\n")
for message in messages:
    send(message=message, color=os.environ.get("COLOR"))
"""


def test_messages_there_and_back(tmp_path):
    with Worker(ECHO, tmp_path / "log", {"COLOR": "red"}) as worker:
        for message in ({"a": [1, None]}, "Straße", 3):
            worker.send(message)
            assert worker.receive(60) == {"message": message, "color": "red"}
        assert (tmp_path / "log").read_text().count("a print of") >= 1
    assert worker.process.returncode is not None


DIES = "Its process ended by signal 9, perhaps for lack of memory."
PROGRAMS = {
    "hangs": ("import time; time.sleep(600)", "It did not answer for 0 seconds."),
    "dies": ("import os; os.kill(os.getpid(), 9)", DIES),
    "breaks": (
        "import sys; print('Bad luck\\nINFO: Created TensorFlow Lite XNNPACK', file=sys.stderr); sys.exit(3)",
        "exit code 3. Its last output: Bad luck",
    ),
    "prints": ("input(); print('hello'); input()", "Its process wrote an invalid message: 'hello'."),
    "stops amid a message": ("print('{', end=''); import os, sys; sys.stdout.flush(); os._exit(3)", "exit code 3."),
    "leaves a child": ("import subprocess; subprocess.Popen(['sleep', '30'])", "Its process ended with exit code 0."),
    "writes no text": ("import os; os.write(1, bytes(range(128, 256)) + b'\\n'); input()", "an invalid message"),
    "complains": ('input(); print(\'{"error": "InputError: no"}\')', "InputError: no"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_failures_take_one_line_and_leave_no_process(program, tmp_path):
    code, message = PROGRAMS[program]
    begin = time.monotonic()
    with Worker(code, tmp_path / "log") as worker:
        worker.send({})
        with pytest.raises(WorkerError) as error:
            worker.receive(0.1 if program == "hangs" else 60)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
    assert worker.process.returncode is not None
    assert time.monotonic() - begin < 30


def test_messages_of_a_dead_process_still_arrive(tmp_path):
    with Worker("print('{\"a\": 1}'); print('{\"a\": 2}')", tmp_path / "log") as worker:
        worker.process.wait()
        assert [worker.receive(), worker.receive()] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(("patience", "code"), [(60, 0), (0, -9)])
def test_ending_waits_for_the_process_as_long_as_asked(tmp_path, patience, code):
    with Worker("import sys; print('{}', flush=True); sys.stdin.read()", tmp_path / "log") as worker:
        worker.receive()
        if not patience:
            worker.process.send_signal(19)  # SIGSTOP: it cannot answer
        worker.close(patience)
    assert worker.process.returncode == code
