"""Large freed blocks go back to the system at once.

A tick works in columns: hundreds of blocks of the size of the fleet are made and freed. glibc maps such blocks one by
one at first, and unmaps them; but whenever one is freed it raises the size from which on it does so, until all columns
lie in one heap, where whatever small and lasting is put between them holds them all resident. With 20,000 machines that
is 650 bytes a machine. A fixed size costs what mapping costs: some 30 ms a tick at 100,000 machines.
"""

from __future__ import annotations

import ctypes

LARGE_BYTES = 128 * 1024
M_MMAP_THRESHOLD = -3  # <malloc.h>


def return_large_blocks() -> bool:
    """Fix the size from which on a block is mapped alone, for this process; False where the C library cannot."""
    try:
        return bool(ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES))
    except (AttributeError, OSError):  # not glibc
        return False
