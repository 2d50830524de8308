"""What `bake edge --memory M` takes and keeps: `bench/memory edge`. Loopback only.

First 10 × M of bodies of mixed sizes go through the edge: how much of M are stored bodies then? Afterwards thousands of clients
are connected at once, of which some read slowly what they asked for. The peak of the process is told after each."""

import asyncio
import collections
import contextlib
import multiprocessing
import os
import random
import re
import resource
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

import measure

TOKEN = "a-token-of-the-bench"
SMALLEST, LARGEST = 256, 4 << 20
BLOB = memoryview(b"x" * LARGEST)
FILLERS = 2
BATCH = 64
# Of the clients, one of so many reads slowly: a few bytes at a time, with pauses.
SLOW_ONE_OF = 4
SLOW_BYTES, SLOW_PAUSE = 2 << 10, 0.5
# Between two looks at what is taken.
LOOK_EVERY = 0.02
HEAD = "{method} /{n} HTTP/1.1\r\nhost: bench.test\r\n{more}\r\n"


def size(n):
    """Of one object: as many between 1 and 2 KiB as between 1 and 2 MiB."""
    return int(SMALLEST * (LARGEST / SMALLEST) ** random.Random(n).random())


def originate(tell):
    class Origin(asyncio.Protocol):
        rest = b""

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            *requests, self.rest = (self.rest + data).split(b"\r\n\r\n")
            for request in requests:
                length = size(int(request.split(b" ", 2)[1][1:]))
                self.transport.write(b"HTTP/1.1 200 OK\r\ncache-control: max-age=86400\r\ncontent-type: text/plain\r\n"
                                     b"content-length: %d\r\n\r\n" % length)
                self.transport.write(BLOB[:length])

    async def run():
        server = await asyncio.get_running_loop().create_server(Origin, "127.0.0.1", 0, backlog=4096)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    asyncio.run(run())


def fill(port, numbers):
    """Asks for one after the other and reads all of each."""
    connection, buffer = socket.create_connection(("127.0.0.1", port)), bytearray(1 << 20)
    for n in numbers:
        connection.sendall(HEAD.format(method="GET", n=n, more="").encode())
        left, head = None, b""
        while left != 0:
            got = connection.recv_into(buffer)
            if got == 0:
                raise SystemExit(f"error: the edge closed the connection on which /{n} was asked for")
            if left is None:
                head += buffer[:got]
                if (end := head.find(b"\r\n\r\n")) >= 0:
                    left = size(n) - (len(head) - end - 4)
            else:
                left -= got


def held(port, count):
    """Objects and bytes that are stored, of the first `count`: asked with HEAD, which the store alone may answer."""
    connection = socket.create_connection(("127.0.0.1", port))
    objects, stored = 0, 0
    for begin in range(0, count, BATCH):
        numbers = range(begin, min(begin + BATCH, count))
        ask = "".join(HEAD.format(method="HEAD", n=n, more="cache-control: only-if-cached\r\n") for n in numbers)
        connection.sendall(ask.encode())
        said = b""
        while said.count(b"\r\n\r\n") < len(numbers):
            more = connection.recv(1 << 20)
            if not more:
                raise SystemExit("error: the edge closed a connection")
            said += more
        # Answers come in the order of the questions.
        for n, answer in zip(numbers, said.split(b"\r\n\r\n")):
            if answer.startswith(b"HTTP/1.1 200"):
                objects, stored = objects + 1, stored + size(n)
    connection.close()
    return objects, stored


class Group:
    """A control group of its own. Version 2 counts what the kernel keeps for the group's TCP sockets with all else. Version 1
    counts it by itself, and only where a limit is set: then the peak is the most of both together that was seen."""

    PARENTS = (("/sys/fs/cgroup", "memory.peak"), ("/sys/fs/cgroup/memory", "memory.max_usage_in_bytes"))
    TCP_LIMIT = 1 << 50

    def __init__(self, folder, peak):
        self.folder, self.peak_name, self.most = folder, peak, 0
        self.counts_tcp_apart = os.path.exists(os.path.join(folder, "memory.kmem.tcp.limit_in_bytes"))
        self.how = f"{peak} of a control group"
        if self.counts_tcp_apart:
            with open(os.path.join(folder, "memory.kmem.tcp.limit_in_bytes"), "w") as f:
                f.write(str(self.TCP_LIMIT))
            self.how = (f"the most of memory.usage_in_bytes and memory.kmem.tcp.usage_in_bytes of a control group together, seen "
                        f"{1 / LOOK_EVERY:.0f} times a second, or {peak} where that is more")

    @staticmethod
    def make():
        name = f"bake-bench-{os.getpid()}"
        for parent, peak in Group.PARENTS:
            folder = os.path.join(parent, name)
            try:
                os.mkdir(folder)
            except OSError:
                continue
            if os.access(os.path.join(folder, peak), os.R_OK) and os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
                return Group(folder, peak)
            os.rmdir(folder)
        return None

    def enter(self):
        with open(os.path.join(self.folder, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def value(self, name):
        with open(os.path.join(self.folder, name)) as f:
            return int(f.read())

    def look(self):
        if self.counts_tcp_apart:
            now = self.value("memory.usage_in_bytes") + self.value("memory.kmem.tcp.usage_in_bytes")
            self.most = max(self.most, now)

    def peak(self):
        return max(self.most, self.value(self.peak_name))

    def tcp(self):
        """The most that the kernel took for TCP sockets of the group; `None` where it is not counted by itself."""
        return self.value("memory.kmem.tcp.max_usage_in_bytes") if self.counts_tcp_apart else None

    def close(self):
        for _ in range(50):
            with contextlib.suppress(OSError):
                return os.rmdir(self.folder)
            time.sleep(0.1)


class Watch(threading.Thread):
    """Looks again and again at what the process takes: its own memory and tables, and its files in memory; and at what the
    kernel keeps for TCP, which is of all sockets of the machine, the clients' ends included."""

    how = "the most seen of RssAnon + RssFile + VmPTE + files in memory"

    def __init__(self, pid, group):
        super().__init__(daemon=True)
        self.pid, self.group, self.stopped, self.most, self.tcp = pid, group, threading.Event(), 0, 0

    def run(self):
        while not self.stopped.wait(LOOK_EVERY):
            with contextlib.suppress(OSError, ValueError):
                if self.group:
                    self.group.look()
                self.most = max(self.most, self.taken())
                self.tcp = max(self.tcp, tcp_bytes())

    def taken(self):
        with open(f"/proc/{self.pid}/status") as f:
            of = dict(re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M))
        total = sum(int(of[name]) for name in ("RssAnon", "RssFile", "VmPTE")) * 1024
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            path = f"/proc/{self.pid}/fd/{fd}"
            # They come and go meanwhile.
            with contextlib.suppress(OSError):
                if os.readlink(path).startswith("/memfd:"):
                    total += os.stat(path).st_blocks * 512
        return total

    def peak(self):
        return self.most


def tcp_bytes():
    with open("/proc/net/sockstat") as f:
        return int(re.search(r"^TCP:.* mem (\d+)", f.read(), re.M).group(1)) * os.sysconf("SC_PAGESIZE")


class Edge:
    def __init__(self, memory, origin, group, log):
        self.port, self.admin = measure.free_port(), measure.free_port()
        self.process = subprocess.Popen(
            [measure.binary(), "edge", "--upstream", f"http://127.0.0.1:{origin}", "--listen", f"127.0.0.1:{self.port}",
             "--admin", f"127.0.0.1:{self.admin}", "--memory", str(memory), "--connections-per-client", "20000"],
            env=dict(os.environ, BAKE_ADMIN_TOKEN=TOKEN), stdout=subprocess.DEVNULL, stderr=log,
            preexec_fn=group.enter if group else None)
        for _ in range(200):
            with contextlib.suppress(OSError):
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            time.sleep(0.05)
        raise SystemExit("error: bake edge did not start")

    def metric(self, name):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        lines = urllib.request.urlopen(request, timeout=60).read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def crowd(port, clients, count, seconds):
    """So many clients at once, each on a connection of its own, until the time is up. Most ask for one object after the other
    and read as fast as they can; some ask for a large one and hardly read. What they saw."""
    rng, poll = random.Random(3), select.epoll()
    large = [n for n in range(count) if size(n) > LARGEST // 4] or [max(range(count), key=size)]
    # By file: the client, and what is left of the content; `None`: its head has not ended.
    fast, slow, heads = {}, {}, {}
    seen = collections.Counter()

    def ask(client, n):
        heads[client.fileno()] = (n, b"")
        client.sendall(HEAD.format(method="GET", n=n, more="").encode())

    def gone(client, of):
        seen["closed"] += 1
        with contextlib.suppress(OSError):
            poll.unregister(client)
        del of[client.fileno()]
        client.close()

    def read(client):
        """`False` where it was closed."""
        with contextlib.suppress(BlockingIOError):
            data = client.recv(1 << 16)
            seen["bytes"] += len(data)
            fd = client.fileno()
            if fd in heads:
                n, head = heads[fd]
                head += data
                end = head.find(b"\r\n\r\n")
                if end < 0:
                    heads[fd] = (n, head)
                    return bool(data)
                del heads[fd]
                length = re.search(rb"content-length: (\d+)", head)
                fast[fd][1] = (int(length.group(1)) if length else 0) - (len(head) - end - 4)
            else:
                fast[fd][1] -= len(data)
            if data and fast[fd][1] <= 0:
                seen["whole"] += 1
                ask(client, rng.randrange(count))
            return bool(data)
        return True

    began = time.monotonic()
    end = began + seconds
    for n in range(clients):
        client = socket.socket()
        is_slow = n % SLOW_ONE_OF == 0
        if is_slow:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 10)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        if is_slow:
            slow[client.fileno()] = client
            client.sendall(HEAD.format(method="GET", n=rng.choice(large), more="").encode())
        else:
            fast[client.fileno()] = [client, None]
            poll.register(client, select.EPOLLIN)
            ask(client, rng.randrange(count))
    # All of them are connected from here on, however long that took.
    seen["connected_after_s"] = round(time.monotonic() - began, 1)
    end = max(end, time.monotonic() + seconds)
    pause = 0.0
    while (now := time.monotonic()) < end:
        for fd, _ in poll.poll(0.05, 512):
            client = fast[fd][0]
            try:
                is_open = read(client)
            except OSError:
                is_open = False
            if not is_open:
                heads.pop(fd, None)
                gone(client, fast)
        if now >= pause:
            pause = now + SLOW_PAUSE
            for client in list(slow.values()):
                try:
                    if not client.recv(SLOW_BYTES):
                        gone(client, slow)
                except BlockingIOError:
                    pass
                except OSError:
                    gone(client, slow)
    seen["open_at_the_end"] = len(fast) + len(slow)
    for client in [*slow.values(), *(client for client, _ in fast.values())]:
        client.close()
    return dict(seen)


def raise_open_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 1 << 16 if hard == resource.RLIM_INFINITY else min(hard, 1 << 16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def settled(edge):
    """Waits for the responses that are still being received to be stored, within reason."""
    before = -1
    for _ in range(50):
        now = edge.metric("bakehouse_edge_store_bytes")
        if now == before:
            return
        before = now
        time.sleep(0.2)


def run(options):
    memory = options.mib << 20
    clients = min(options.clients, raise_open_files() - 500)
    count, total = 0, 0
    while total < options.churn * memory:
        total += size(count)
        count += 1
    mine, theirs = multiprocessing.Pipe(duplex=False)
    origin = multiprocessing.Process(target=originate, args=(theirs,), daemon=True)
    origin.start()
    group = Group.make()
    results = {"memory_bytes": memory, "machine": measure.machine(), "objects": count, "churned_bytes": total}
    rows = []
    with tempfile.TemporaryFile() as log:
        tcp_before = tcp_bytes()
        edge = Edge(memory, mine.recv(), group, log)
        watch = Watch(edge.process.pid, group)
        watch.start()
        tells = group or watch
        results["peak_by"] = tells.how

        def tell(name, more):
            settled(edge)
            objects, stored = held(edge.port, count)
            own_tcp = group.tcp() if group else None
            result = {"stored_objects": objects, "stored_bytes": stored, "peak_bytes": tells.peak(), "seen_bytes": watch.peak(),
                      "tcp_bytes": own_tcp, "machine_tcp_bytes": max(0, watch.tcp - tcp_before),
                      "counted_bytes": edge.metric("bakehouse_edge_store_bytes")} | more
            results[name] = result
            rows.append([name, objects, f"{stored / 2**20:.0f}", f"{100 * stored / memory:.1f}", f"{tells.peak() / 2**20:.0f}",
                         f"{100 * tells.peak() / memory:.1f}", f"{watch.peak() / 2**20:.0f}",
                         "" if own_tcp is None else f"{own_tcp / 2**20:.0f}", f"{result['machine_tcp_bytes'] / 2**20:.0f}"])

        try:
            with multiprocessing.Pool(FILLERS) as pool:
                pool.starmap(fill, [(edge.port, range(part, count, FILLERS)) for part in range(FILLERS)])
            tell("churn", {})
            with multiprocessing.Pool(1) as pool:
                seen = pool.apply(crowd, (edge.port, clients, count, options.seconds))
            tell("clients", {"clients": clients, "slow": -(-clients // SLOW_ONE_OF)} | seen)
        finally:
            watch.stopped.set()
            watch.join()
            edge.stop()
            if group:
                group.close()
            origin.terminate()
    text = (f"`bake edge --memory {memory}` ({options.mib} MiB): {count} objects of {SMALLEST} bytes to {LARGEST >> 20} MiB, "
            f"{total / 2**30:.1f} GiB in all, {options.churn} times the memory; then {clients} clients at once for {options.seconds} s, "
            f"of which one in {SLOW_ONE_OF} reads {SLOW_BYTES >> 10} KiB each {SLOW_PAUSE} s ({seen.get('whole', 0)} objects were read "
            f"whole, {seen.get('closed', 0)} clients closed). The peak is {results['peak_by']}.\n\n")
    head = ["after", "stored objects", "stored bodies, MiB", "% of M", "peak, MiB", "% of M", "most seen by process, MiB", "most of TCP, MiB",
            "TCP of the machine, MiB"]
    measure.record("edge-memory", results, text + measure.table(head, rows))
