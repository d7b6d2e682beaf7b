"""Gates for pods that kwok pretends to run (kube-scale): one program that speaks server/engine/kubernetes/gate/protocol.h for
each of them, from when the cluster calls it Running. The service behind it takes the time that its command line says.

Runs as a process of its own. With SIGUSR1 it writes what it saw as JSON to the file that it was given; SIGTERM ends it:
{hello, ready: {"SCOPE/POD": seconds}, slices: {writer: {"SCOPE/SERVICE": seconds}}, lost, open}, by CLOCK_MONOTONIC.
"""
import collections
import contextlib
import errno
import heapq
import json
import os
import pathlib
import select
import signal
import socket
import struct
import sys
import threading
import time

import kube

HEADER = struct.Struct("<IBBH")
HELLO, STARTED, EXITED, LISTENING, PORTS = 1, 3, 5, 6, 7
GO, SIGNAL, KILL, RELEASE, AWAIT_PORT, LIST_PORTS, MARK_READY = 65, 66, 67, 68, 69, 70, 78
SILENT = "sentinel"  # Pods of environments of this name never have a gate.


def now_us():
    return time.monotonic_ns() // 1000


class Gate:
    def __init__(self, gates, key, pod):
        self.gates, self.key = gates, key
        container = pod["spec"]["containers"][0]
        config = next(one["value"] for one in container["env"] if one["name"] == "MAYFLY_GATE")
        address, _, self.token = config.split(" ")
        self.server = (address.rsplit(":", 1)[0], int(address.rsplit(":", 1)[1]))
        self.address = pod["status"].get("podIP", "192.0.2.99")
        words = container["args"]
        self.delay = int(words[words.index("sleep") + 1]) / 1000 if "sleep" in words else 0.0
        self.state, self.started, self.end, self.received = "waiting", 0.0, None, b""
        self.dial()

    def dial(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        if self.socket.connect_ex(self.server) not in (0, errno.EINPROGRESS):
            return self.lose()
        self.gates.by_fd[self.socket.fileno()] = self
        self.gates.poll.register(self.socket.fileno(), select.EPOLLOUT)

    def send(self, kind, payload=b"", number=0):
        # Small and seldom: a socket that does not take it is lost.
        try:
            self.socket.sendall(HEADER.pack(len(payload), kind, 0, number) + payload)
        except OSError:
            self.lose()

    def connected(self):
        self.gates.poll.modify(self.socket.fileno(), select.EPOLLIN)
        self.gates.seen["hello"].setdefault(self.key, time.monotonic())
        self.send(HELLO, f"1 {self.key} {self.token} {self.address} {self.state} {now_us()}".encode())
        if self.end is not None:
            self.send(EXITED, self.end)

    def close(self):
        if self.socket.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.gates.poll.unregister(self.socket.fileno())
            self.gates.by_fd.pop(self.socket.fileno(), None)
            self.socket.close()

    def leave(self):
        self.close()
        self.state = "left"

    def lose(self):
        self.close()
        if self.state == "left":
            return
        self.gates.seen["lost"] += 1
        self.gates.later(0.2, lambda: self.state != "left" and self.key in self.gates.gates and self.dial())

    def end_with(self, number):
        self.state, self.end = "ended", f"{number} 0 0 0 {now_us()}".encode()
        self.send(EXITED, self.end)

    def hear(self, kind, flag, number, payload):
        del payload
        if kind == GO and self.state == "waiting":
            self.state, self.started = "running", time.monotonic()
            self.send(STARTED, struct.pack("<Q", now_us()))
        elif kind == AWAIT_PORT:
            self.gates.later(max(0.0, self.started + self.delay - time.monotonic()),
                             lambda: self.state == "running" and self.send(LISTENING, number=number))
        elif kind == MARK_READY:
            self.state = "ready"
            self.gates.seen["ready"].setdefault(self.key, time.monotonic())
        elif kind == LIST_PORTS:
            self.send(PORTS)
        elif kind in (SIGNAL, KILL):
            if self.state in ("running", "ready"):
                self.end_with(signal.SIGKILL if kind == KILL else number)
            if kind == KILL and flag:
                self.leave()
        elif kind == RELEASE:
            self.leave()

    def on_event(self, events):
        if events & select.EPOLLOUT:
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return self.lose()
            return self.connected()
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return self.lose()
        self.received += data
        while len(self.received) >= HEADER.size:
            length, kind, flag, number = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + length:
                break
            payload = self.received[HEADER.size:HEADER.size + length]
            self.received = self.received[HEADER.size + length:]
            self.hear(kind, flag, number, payload)
        return None


class Gates:
    def __init__(self):
        self.poll, self.by_fd, self.gates = select.epoll(), {}, {}
        self.timers, self.count = [], 0
        self.news, self.ended, self.asked = collections.deque(), False, False
        self.wake, self.waker = os.pipe2(os.O_NONBLOCK)
        self.poll.register(self.wake, select.EPOLLIN)
        self.seen = {"hello": {}, "ready": {}, "slices": collections.defaultdict(dict), "lost": 0, "open": 0}

    def later(self, delay, what):
        self.count += 1
        heapq.heappush(self.timers, (time.monotonic() + delay, self.count, what))

    def tell(self, what):
        self.news.append(what)
        with contextlib.suppress(BlockingIOError):
            os.write(self.waker, b"x")

    def watch(self, path, accept, on_event):
        """For ever, on a thread of its own."""
        version = ""
        while True:
            connection = kube.Api().open()
            connection.request("GET", f"{path}watch=1&allowWatchBookmarks=true&timeoutSeconds=7200{version}",
                               headers={"accept": accept})
            answer = connection.getresponse()
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(line[:300])
                version = f"&resourceVersion={event['object']['metadata']['resourceVersion']}"
                if event["type"] != "BOOKMARK":
                    on_event(event["type"], event["object"])

    def on_pod(self, kind, pod):
        space = pod["metadata"]["namespace"]
        key = f"{space}/{pod['metadata']['name']}"
        if space.startswith(SILENT):
            return
        if kind == "DELETED":
            self.tell(lambda: self.gates.pop(key).leave() if key in self.gates else None)
        elif pod["status"].get("phase") == "Running" and key not in self.seen["hello"]:
            self.tell(lambda: key in self.gates or self.gates.__setitem__(key, Gate(self, key, pod)))

    def on_slice(self, kind, found):
        labels = found["metadata"].get("labels", {})
        if kind == "ADDED" and "kubernetes.io/service-name" in labels:
            key = f"{found['metadata']['namespace']}/{labels['kubernetes.io/service-name']}"
            self.seen["slices"][labels.get("endpointslice.kubernetes.io/managed-by", "")][key] = time.monotonic()

    def run(self):
        part = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        for words in (("/api/v1/pods?labelSelector=app.kubernetes.io/managed-by%3Dmayfly&", "application/json", self.on_pod),
                      ("/apis/discovery.k8s.io/v1/endpointslices?", part, self.on_slice)):
            threading.Thread(target=self.watch, args=words, daemon=True).start()
        while not self.ended:
            if self.asked:
                self.asked = False
                self.write()
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else 1.0
            for fd, events in self.poll.poll(min(wait, 1.0)):
                if fd == self.wake:
                    os.read(self.wake, 65536)
                elif fd in self.by_fd:
                    self.by_fd[fd].on_event(events)
            while self.news:
                self.news.popleft()()
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()


    def write(self):
        self.seen["open"] = len(self.by_fd)
        made = pathlib.Path(sys.argv[1] + ".new")
        made.write_text(json.dumps(self.seen))
        made.rename(sys.argv[1])


def main():
    gates = Gates()
    signal.signal(signal.SIGTERM, lambda *_: setattr(gates, "ended", True))
    signal.signal(signal.SIGUSR1, lambda *_: setattr(gates, "asked", True))
    gates.run()


if __name__ == "__main__":
    main()
