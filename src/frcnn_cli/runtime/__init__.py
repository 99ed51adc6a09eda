"""What the program asks of the machine: devices, files, locks, threads and processes."""
