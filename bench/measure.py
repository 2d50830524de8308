"""What the measurements share: the machine, percentiles, tables, results."""

import json
import os
import pathlib
import platform
import statistics

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def binary():
    """The release build of `bake`, or the one that BAKE names."""
    if "BAKE" in os.environ:
        return os.path.abspath(os.environ["BAKE"])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / "release" / "bake"
    if not path.exists():
        raise SystemExit(f"error: no {path}\nhint: cargo build --release, or start this with bench/run")
    return str(path)


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release()}


def percentile(values, p):
    """Nearest rank: of 200 values, p99 is the third largest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


def summary(values):
    return {"median": statistics.median(values), "p99": percentile(values, 0.99), "max": max(values), "count": len(values)}


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def record(name, result, text):
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(text + "\n")
    print(text)
