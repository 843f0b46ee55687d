"""`make bench`: runs every comparison in this folder, each in a separate process, and writes docs/benchmarks.md.

Exit status 1 if a comparison does not reach the ratio that it expects.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
PROGRESS = re.compile(r"\d+/\d+ - ")  # Keras' progress lines
HEAD = """# Benchmarks

Written by `make bench`. Each line is a comparison. Both sides are measured alternately in one process, so that other
load on the machine affects both equally. The times differ from machine to machine, the ratios much less.

Machine: {machine}, {cores} cores, TensorFlow {tensorflow}, Keras {keras}, no GPU used.
"""


def main() -> int:
    """Run all comparisons and write their output to the page, under the first line of their docstrings."""
    import lessonkit  # noqa: F401  first: it quiets TensorFlow's log

    import keras
    import tensorflow as tf

    facts = {"machine": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count()}
    page, status = [HEAD.format(tensorflow=tf.__version__, keras=keras.__version__, **facts)], 0
    for file in sorted(HERE.glob("bench_*.py")):
        title = file.read_text(encoding="utf-8").split('"""')[1].splitlines()[0].rstrip(".")
        done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line.strip() and not PROGRESS.match(line)]
        print(*lines, sep="\n", flush=True)
        if done.returncode:
            status = 1
            print(f"{file.name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        link = f"[`{file.name}`](../tests/benchmarks/{file.name})"
        page.append("\n".join([f"\n## {title}\n", *(f"- {line}" for line in lines), "", link]))
    PAGE.write_text("\n".join(page) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
