"""Starting: import, first fit with an empty and with a filled kernel cache, and the memory that it all takes."""

import subprocess
import sys
from pathlib import Path
from statistics import median

TRIVIAL = str(Path(__file__).with_name("trivial.py"))
PROGRAMS = {
    "python": "pass",
    "numba": f"import runpy; runpy.run_path({TRIVIAL!r}, run_name='__main__')",
    "import": "import fastbp",
    "fit": """
import numpy as np
import fastbp
rng = np.random.default_rng(0)
model = fastbp.Model((64, 64, 10), output="softmax")
model.fit(rng.random((1000, 64), dtype=np.float32), rng.integers(0, 10, 1000), epochs=1)
""",
    "predict": """
import numpy as np
import fastbp
fastbp.Model((64, 64, 10), output="softmax").predict(np.zeros((1, 64)))
""",
}
EMPTY_CACHE = "import os, tempfile; cache = tempfile.TemporaryDirectory(); os.environ['NUMBA_CACHE_DIR'] = cache.name\n"
PEAK = "\nprint(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"


def megabytes(program: str) -> float:
    """The most memory that the program held, in a fresh process. Linux; ru_maxrss would begin at this one's peak."""
    ran = subprocess.run([sys.executable, "-c", program + PEAK], capture_output=True, text=True, check=True)
    return int(ran.stdout.split()[-1]) / 1024


class Processes:
    """Whole processes, with a warm cache."""

    params = list(PROGRAMS)
    param_names = ("program",)
    number = 1
    timeout = 300

    def setup(self, name: str) -> None:
        subprocess.run([sys.executable, "-c", PROGRAMS[name]], check=True)

    def timeraw_process(self, name: str) -> str:
        """Code that asv runs in a separate process; the start of Python itself is not counted."""
        return PROGRAMS[name]


class Cold:
    """The first fit with an empty cache: compiles everything."""

    number = 1
    repeat = (1, 3, 60.0)
    rounds = 1
    timeout = 300

    def timeraw_first_fit(self) -> str:
        return EMPTY_CACHE + PROGRAMS["fit"]

    def timeraw_first_predict(self) -> str:
        return EMPTY_CACHE + PROGRAMS["predict"]


class Memory:
    """The peak of a process, with a warm cache."""

    timeout = 300

    def setup(self) -> None:
        for program in PROGRAMS.values():
            subprocess.run([sys.executable, "-c", program], check=True)

    def track_fit_over_numba(self) -> float:
        """Of a first fit, over a process that runs one trivial cached function."""
        return median(megabytes(PROGRAMS["fit"]) - megabytes(PROGRAMS["numba"]) for _ in range(5))

    def track_fit(self) -> float:
        """Of a first fit, with Python, NumPy and Numba."""
        return median(megabytes(PROGRAMS["fit"]) for _ in range(5))

    track_fit.unit = track_fit_over_numba.unit = "MB"
