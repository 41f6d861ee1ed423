"""What the suites ask of the server's process."""


def memory_mb(pid):
    """Resident memory in MiB; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0
