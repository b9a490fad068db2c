"""Cores and memory that this process may use: those of the machine, less what a container or batch system withholds.

Linux limits processes by control groups (cgroups), nested in one another: the smallest limit on the way up counts.
References: https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/memory.html beside it.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_PROCESS = Path("/proc/self")


def cores() -> int:
    """How many cores this process may use, at least 1: of its CPU affinity and its cgroups' quotas the least."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13; also heeds PYTHON_CPU_COUNT
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    return max(1, min([count or 1, *_quotas()]))


def threads() -> int:
    """How many threads read files at a time: as `ThreadPoolExecutor` chooses by the machine, by `cores` alone."""
    return min(32, cores() + 4)


def free_memory() -> int:
    """Bytes that this process can still take: of the machine's and its cgroups' free ones the least.

    What a cgroup holds of files counts as free, as the kernel drops it when memory is asked for.
    """
    return max(0, min([psutil.virtual_memory().available, *_rooms()]))


def _quotas() -> Iterator[int]:
    """Cores' worth of time that each cgroup grants, where it limits that."""
    for group in _cgroups("cpu"):
        with suppress(OSError, ValueError):
            if (group / "cpu.max").is_file():
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if quota.strip() not in ("max", "-1"):
                yield math.ceil(int(quota) / int(period))


def _rooms() -> Iterator[int]:
    """Bytes that each cgroup still grants, where it limits them."""
    for group in _cgroups("memory"):
        with suppress(OSError, ValueError):
            second = (group / "memory.current").is_file()
            limits = ("memory.max", "memory.high") if second else ("memory.limit_in_bytes",)
            used = _number(group / ("memory.current" if second else "memory.usage_in_bytes"))
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            before = "" if second else "total_"  # with the groups below it
            files = sum(int(counts.get(f"{before}{kind}_file", 0)) for kind in ("inactive", "active"))
            for limit in limits:
                with suppress(OSError, ValueError):  # "max" is none
                    yield _number(group / limit) - max(0, used - files)


def _number(path: Path) -> int:
    return int(path.read_text())


def _cgroups(controller: str) -> Iterator[Path]:
    """The folders of this process's cgroups that may limit something, from its own up."""
    try:
        own = [line.split(":", 2)[1:] for line in (_PROCESS / "cgroup").read_text().splitlines()]
        by_controller = {name: path for names, path in own for name in names.split(",")}  # of version 2 named ""
        mounts = (_PROCESS / "mountinfo").read_text().splitlines()
    except (OSError, ValueError):  # not on Linux
        return
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = [*after.split(" ", 2), "", ""][:3]
        name = {"cgroup": controller, "cgroup2": ""}.get(kind)
        if name is None or name not in by_controller or (name and name not in options.split(",")):
            continue
        root, mounted = (_unescaped(field) for field in before.split(" ")[3:5])
        folder = Path(mounted)
        path = Path("/", by_controller[name])
        # In a container without a view of its own, the path is the machine's, of which it sees a part.
        inside = folder / path.relative_to(root) if path.is_relative_to(root) and ".." not in path.parts else folder
        yield from (each for each in (inside, *inside.parents) if each.is_relative_to(folder))


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
