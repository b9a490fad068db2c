"""The machine: devices, processes, signals, files, locks, memory."""
