"""A running `bake up`, for measurements."""

import json
import os
import pathlib
import re
import subprocess
import threading
import time
import urllib.request

import measure

START_SECONDS_MAX = 3_600
EVENT_SECONDS_MAX = 30


class Up:
    """A running `bake up`, and the events that it prints."""

    def __init__(self, site, data):
        self.log = open(pathlib.Path(data).with_suffix(".log"), "w+")
        self.process = subprocess.Popen(
            [measure.binary(), "up", str(site), "--data", str(data), "--json", "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--bucket-listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.events = []
        self.news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        path = pathlib.Path(data) / "up.json"
        end = time.monotonic() + START_SECONDS_MAX
        while not path.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                raise SystemExit(f"error: bake up did not start: {self.log.read()}")
            time.sleep(0.05)
        self.json = json.loads(path.read_text())

    def _read(self):
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            with self.news:
                self.events.append(event)
                self.news.notify_all()

    def published(self, count):
        """Waits for the publish of this number, from 0."""
        def enough():
            found = [e for e in self.events if e.get("event") == "published"]
            return found[count] if len(found) > count else None

        with self.news:
            found = self.news.wait_for(enough, EVENT_SECONDS_MAX)
        if found is None:
            raise SystemExit(f"error: no line tells of publish {count}")
        return found

    def metric(self, name):
        with urllib.request.urlopen(self.json["api"] + "/metrics") as reply:
            text = reply.read().decode()
        return sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.M))

    def memory(self, what):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * 1024

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(2)
        self.process.wait(10)
