"""`python worker.py KIND FOLDER FIRST STOP`: reads mutated files of a kind, as commands do, and tells of each.

For each it prints a line of JSON when it begins and when it is done: with what went wrong, if anything else came out
than a success or an `InputError`, or if the memory grew beyond the bound.
"""

import contextlib
import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

GIB = 1 << 30
BOUND = {"image": 3 * GIB, "weights": 1 * GIB, "yaml": GIB // 2, "json": GIB // 2, "record": GIB // 2}  # bytes


def status(field):
    """A figure of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def main(kind, folder, first, stop):
    """Reads inputs `first` to `stop - 1`."""
    # What native code prints stays out of the lines that the parent reads.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from fuzzing import seeds

    from keras_crosscoop.errors import InputError

    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    examples = seeds.KINDS[kind](folder)
    for seed in examples:
        with contextlib.nullcontext() if seed.supported else contextlib.suppress(InputError):
            seed.run(seed.content)  # what is not damaged is read
    limit = status("VmSize") + 2 * BOUND[kind]
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    contents = [seed.content for seed in examples]
    for number in range(first, stop):
        rng = random.Random(f"{kind} {number}")
        seed = examples[number % len(examples)]
        content = seed.mutate(seed.content, rng, contents)
        (folder / "input").write_bytes(content)  # to be looked at, should this process die of it
        lines.write(json.dumps({"number": number, "seed": seed.name}) + "\n")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, started, wrong = status("VmRSS"), time.perf_counter(), None
        try:
            seed.run(content)
            outcome = "read"
        except InputError as error:
            outcome = "refused"
            if "\n" in str(error):
                wrong = f"more than one line: {error}"
        except Exception:
            outcome, wrong = "failed", traceback.format_exc()[-3000:]
        grown = status("VmHWM") - before
        if grown > BOUND[kind]:
            wrong = f"{wrong or ''} {grown / GIB:.2f} GiB of memory"
        took = time.perf_counter() - started
        lines.write(json.dumps({"outcome": outcome, "wrong": wrong, "grown": grown, "seconds": took}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
