"""The peak of this process's memory; needs nothing, so that peers' environments can import it."""

from pathlib import Path
import resource
import sys


def peak_bytes() -> int:
  """The most memory that this process held. Linux's `getrusage` would count that of its parent, until the exec, too."""
  status = Path("/proc/self/status")
  if status.exists():
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
