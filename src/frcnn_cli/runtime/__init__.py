"""The machine: devices, files and folders, locks, threads and processes, time; and SVG drawings."""
