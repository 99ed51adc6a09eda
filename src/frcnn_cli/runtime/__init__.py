"""The machine: devices, files and folders, locks, threads and processes, and time."""
