"""CPU cores and memory that this process may use, within the limits of the machine, containers and batch jobs.

Linux limits processes by nested control groups (cgroups): the smallest limit of a process's group and its parent groups
applies.

References: https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath

import psutil

_OWN_CGROUPS = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Returns the number of cores that this process may use: the minimum of its CPU affinity and cgroup quotas."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    return max(1, min([count or 1, *_cpu_quotas()]))


def threads() -> int:
    """Returns the number of threads for reading files: the default of `ThreadPoolExecutor` for `cores()` cores."""
    return min(32, cores() + 4)


def free_memory() -> int:
    """Returns the bytes that this process can still allocate: the minimum free memory of machine and cgroups.

    A cgroup's file cache counts as free, because the kernel drops it on demand.
    """
    return max(0, min([psutil.virtual_memory().available, *_free_cgroup_memory()]))


def _cpu_quotas() -> Iterator[int]:
    """Yields the CPU quota of each cgroup that has one, in cores."""
    for group in _cgroups("cpu"):
        with suppress(OSError, ValueError):
            if (group / "cpu.max").is_file():  # version 2
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if quota.strip() not in ("max", "-1"):
                yield math.ceil(int(quota) / int(period))


def _free_cgroup_memory() -> Iterator[int]:
    """Yields the free bytes of each cgroup that limits memory."""
    for group in _cgroups("memory"):
        if (group / "memory.current").is_file():  # version 2
            limits, usage, prefix = ("memory.max", "memory.high"), "memory.current", ""
        else:
            limits, usage, prefix = ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"
        with suppress(OSError, ValueError):
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            cache = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
            used = max(0, int((group / usage).read_text()) - cache)
            for limit in limits:
                with suppress(OSError, ValueError):  # "max" means no limit
                    yield int((group / limit).read_text()) - used


def _cgroups(controller: str) -> Iterator[Path]:
    """Yields the folders of this process's cgroup and its parent groups, for both versions of cgroups.

    In a container, the group's path may be the host's, and only the root may exist. So some folders may be missing.
    """
    try:
        lines = [line.split(":", 2) for line in _OWN_CGROUPS.read_text().splitlines()]
    except OSError:  # not on Linux
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        own = root / path.lstrip("/") if ".." not in PurePath(path).parts else root
        yield from (own, *(parent for parent in own.parents if parent.is_relative_to(root)))
