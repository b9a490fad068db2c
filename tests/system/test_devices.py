"""What there is to compute on."""

import psutil
import pytest

from keras_crosscoop.system import devices


@pytest.mark.parametrize(("usable", "expected"), [(3, "3 of 8 cores"), (8, "8 cores")])
def test_cores_are_those_of_the_process(monkeypatch, usable, expected):
    """And how many the machine has besides."""
    monkeypatch.setattr(devices, "cores", lambda: usable)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 8)
    (cpu,) = (device for device in devices.devices() if device.name.startswith("CPU"))
    assert cpu.description == expected
