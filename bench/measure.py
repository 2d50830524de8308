"""What the measurements share: the machine, processes, percentiles, tables, results."""

import json
import os
import pathlib
import platform
import re
import select
import signal
import socket
import statistics
import subprocess
import threading
import time

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


class Kept:
    """One HTTP/1.1 connection, kept. It takes so little of a processor that to ask does not disturb what is measured beside it;
    one of the standard library takes four times as much."""

    def __init__(self, port):
        self.port, self.connection = port, None

    def ask(self, request):
        """Sends a whole request; returns the status and the seconds to the end of the answer, which has a length."""
        began = time.perf_counter()
        # Nothing is under way on it: what can be read is its end, since it was not used for long.
        if self.connection is not None and select.select([self.connection], [], [], 0)[0]:
            self.connection.close()
            self.connection = None
        if self.connection is None:
            self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(request)
        answer, end = b"", -1
        while end < 0 or len(answer) < end:
            data = self.connection.recv(1 << 16)
            if not data:
                raise SystemExit(f"error: port {self.port} closed a connection before the end of an answer")
            answer += data
            if end < 0 and (head := answer.find(b"\r\n\r\n")) >= 0:
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer[:head])
                if length is None:
                    raise SystemExit(f"error: port {self.port} answered without a length")
                end = head + 4 + int(length[1])
        if re.search(rb"(?i)\r\nconnection: *close", answer[:head]):
            self.connection.close()
            self.connection = None
        return int(answer[9:12]), time.perf_counter() - began


def purge_request(admin, token, selector):
    """The whole request that purges what `selector` covers, at the operators' port of an edge."""
    content = json.dumps({"selectors": [selector]})
    return (f"POST /v1/purge HTTP/1.1\r\nhost: 127.0.0.1:{admin}\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n{content}").encode()


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "kernel": platform.release()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(command, seconds_max=3600):
    """Runs a command to its end: seconds, and the CPU seconds and peak bytes of its process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    limit = threading.Timer(seconds_max, os.kill, (process.pid, signal.SIGKILL))
    limit.start()
    _, status, usage = os.wait4(process.pid, 0)
    limit.cancel()
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if seconds >= seconds_max:
        raise SystemExit(f"error: {command[0]} took more than {seconds_max} s\nhint: fewer --pages")
    if process.returncode != 0:
        raise SystemExit(f"error: {' '.join(map(str, command))} ended with {process.returncode}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}


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
