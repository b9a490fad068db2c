"""Cores and memory within the limits of cgroups, in files as kernels show them."""

import os

import psutil
import pytest

from keras_crosscoop.system import resources
from keras_crosscoop.system.resources import cores, free_memory, threads

GIB = 2**30
UNLIMITED = 9223372036854771712  # in version 1


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns a function that writes a process's cgroups, on a machine of 16 cores and 100 GiB of free memory."""
    monkeypatch.setattr(resources, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(resources, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100 * GIB}))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: 16, raising=False)

    def make(own, files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n")

    return make


def second(folder, limit="max", current=0, stat="anon 1", cpu="max 100000", high="max"):
    names = {"memory.max": limit, "memory.high": high, "memory.current": current, "memory.stat": stat, "cpu.max": cpu}
    return {f"{folder}/{name}": content for name, content in names.items()}


def test_no_limits(machine):
    machine("0::/user.slice\n", second("user.slice"))
    assert (cores(), threads(), free_memory()) == (16, 20, 100 * GIB)


def test_not_on_linux(machine):
    assert (cores(), free_memory()) == (16, 100 * GIB)


@pytest.mark.parametrize("strictest", ["a", "a/b", "a/b/c"])
def test_the_smallest_limit_on_the_way_up_counts(machine, strictest):
    files = {}
    for folder in ("a", "a/b", "a/b/c"):
        is_it = folder == strictest
        files |= second(folder, (4 if is_it else 40) * GIB, GIB, cpu=f"{3 if is_it else 8}00000 100000")
    machine("0::/a/b/c\n", files)
    assert (cores(), free_memory()) == (3, 3 * GIB)


def test_files_in_memory_are_free(machine):
    """They are dropped when memory is asked for; what programs hold is not."""
    stat = f"anon {2 * GIB}\nfile {3 * GIB}\ninactive_file {2 * GIB}\nactive_file {GIB}\nshmem 0"
    machine("0::/a\n", second("a", 6 * GIB, 5 * GIB, stat))
    assert free_memory() == 4 * GIB


def test_where_a_group_is_slowed_down_is_a_limit_too(machine):
    machine("0::/a\n", second("a", "max", GIB, high=3 * GIB))
    assert free_memory() == 2 * GIB
    machine("0::/a\n", second("a", GIB, 2 * GIB))
    assert free_memory() == 0  # rather than less


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("150000 100000", 2), ("9900000 100000", 16)])
def test_parts_of_cores(machine, quota, expected):
    machine("0::/\n", second(".", cpu=quota))
    assert cores() == expected


def first(folder, limit, used, cache, quota):
    stat = f"cache 7\ninactive_file 5\nactive_file 5\ntotal_inactive_file {cache}\ntotal_active_file 0"
    names = {"limit_in_bytes": limit, "usage_in_bytes": used, "stat": stat}
    memory = {f"memory/{folder}/memory.{name}": content for name, content in names.items()}
    cpu = {f"cpu/{folder}/cpu.cfs_{name}_us": value for name, value in {"quota": quota, "period": 50000}.items()}
    return memory | cpu


def test_version_1(machine):
    own = "4:memory:/a/b\n3:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/\n"
    machine(own, first("a/b", UNLIMITED, GIB, 0, -1) | first("a", 8 * GIB, 7 * GIB, 2 * GIB, 200000))
    assert (cores(), free_memory()) == (4, 3 * GIB)


def test_a_container_that_sees_its_own_group_alone(machine):
    """Its path is the host's, but the group itself is mounted as the root."""
    own = "4:memory:/docker/1f\n3:cpu,cpuacct:/docker/1f\n"
    machine(own, first("", 2 * GIB, GIB, 0, 100000))
    assert (cores(), free_memory()) == (2, GIB)


def test_a_group_above_what_is_mounted(machine):
    machine("0::/../other\n", second(".", 2 * GIB, GIB))
    assert free_memory() == GIB


def test_invalid_files_limit_nothing(machine):
    machine("0::/a\nnonsense\n", second("a", "many", "few", "?", "half"))
    assert (cores(), free_memory()) == (16, 100 * GIB)


def test_affinity(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_OWN_CGROUPS", tmp_path / "none")
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1
