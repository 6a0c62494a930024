"""The stamp: one number in a process, in Python and in compiled code; another number in another process."""

import subprocess
import sys

import numpy as np
from kernel_calls import run, uncached

from fastbp.core.ir.kernel import INTEGERS, VOID, kernel
from fastbp.core.ir.process_stamp import process_stamp, stamp_where_loaded


def test_compiled_code_reads_the_stamp_of_its_process() -> None:
    @kernel(VOID(INTEGERS))
    def read(out):
        out[0] = stamp_where_loaded()

    out = np.zeros(1, np.int64)
    run(uncached(read), out)
    assert out[0] == process_stamp() != 0


def test_another_process_has_another_stamp() -> None:
    code = "from fastbp.core.ir.process_stamp import process_stamp; print(process_stamp())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) not in (0, process_stamp())
