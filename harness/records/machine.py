"""What a record says of the machine."""

import functools
import os
import platform
import sys
from pathlib import Path


@functools.cache
def processor() -> str:
    """The processor's model name, as in "AMD EPYC 9V74 80-Core Processor"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def capability() -> str:
    """The vector instructions that PyTorch and oneDNN use, as in "AVX512"; "" where PyTorch is not loaded."""
    if "torch" not in sys.modules:
        return ""
    found = sys.modules["torch"].backends.cpu.get_cpu_capability()
    # oneDNN finds out by itself; what limits it is all that can be known.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return f"{found}, oneDNN up to {limit}" if limit else found


def cpu_seconds() -> float:
    """Processor time of this process so far, user and system, its ended children included."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
