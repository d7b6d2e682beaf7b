"""kube-requests: what one W21 life (up, 6 s, down) asks of the API server.

mayflyd is given an API server of its own on the cluster's etcd, whose audit log then holds mayfly's requests and nobody
else's, with bodies; a relay before it counts what really goes over the wire, watches included.
"""
import collections
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import kube
import layout

OWN_PORT, RELAY_PORT = layout.API_PORT + 10, layout.API_PORT + 11
IDLE = 30  # Seconds in which nothing happens and nothing may be asked.
READS = ("get", "list", "watch")
POLICY = """apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [ResponseStarted]
rules:
- level: None
  users: ["system:apiserver"]
- level: RequestResponse
"""


class OwnApiServer:
    def __init__(self, folder):
        self.audit = folder / "audit.log"
        (folder / "audit.yaml").write_text(POLICY)
        words = self.running()
        for flag, value in (("--secure-port", OWN_PORT), ("--audit-policy-file", folder / "audit.yaml"),
                            ("--audit-log-path", self.audit)):
            words[words.index(flag) + 1] = str(value)
        # Others find the cluster's own where they did.
        words += ["--endpoint-reconciler-type", "none"]
        with open(folder / "apiserver.log", "wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end, api = time.monotonic() + 60, kube.Api(OWN_PORT)
        while True:
            try:
                api.call("GET", "/readyz?verbose=0", text=True)
                return
            except (OSError, RuntimeError) as error:
                api = kube.Api(OWN_PORT)
                if time.monotonic() > end or self.process.poll() is not None:
                    self.stop()
                    raise RuntimeError(f"{error}; {(folder / 'apiserver.log').read_text()[-2000:]}") from error
                time.sleep(0.2)

    @staticmethod
    def running():
        """The command line of the cluster's."""
        for entry in pathlib.Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")[:-1] if entry.name.isdigit() else []
                if words[1:2] == ["apiserver"] and any(word.startswith(f"{layout.ROOT}/") for word in words):
                    return words
        raise RuntimeError("the cluster's API server was not found")

    def events(self):
        found = []
        for line in self.audit.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # The last line may not be complete yet.
                event = json.loads(line)
                if event.get("userAgent", "").startswith("mayfly"):
                    found.append(event)
        return found

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Relay:
    """Counts bytes on their way, in both directions: `sent` and `received` as mayfly sees it."""

    def __init__(self):
        self.sent = self.received = self.connections = 0
        self.listener = socket.create_server((layout.NODE_ADDRESS, RELAY_PORT))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection((layout.NODE_ADDRESS, OWN_PORT))
            self.connections += 1
            for source, target, count in ((near, far, "sent"), (far, near, "received")):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.pump, args=(source, target, count), daemon=True).start()

    def pump(self, source, target, count):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                setattr(self, count, getattr(self, count) + len(data))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def stop(self):
        self.listener.close()


def finished(events):
    """Requests, each once: watches are told when they begin and when they end."""
    return list({event["auditID"]: event for event in events}.values())


def kind(event):
    target = event.get("objectRef", {})
    name = "/".join(part for part in (target.get("resource", "?"), target.get("subresource", "")) if part)
    return event["verb"], name


def size(event, part):
    return len(json.dumps(event[part], separators=(",", ":"))) if part in event else 0


def show_requests(events):
    table = collections.defaultdict(lambda: [0, 0, 0])
    for event in events:
        for column, more in enumerate((1, size(event, "requestObject"), size(event, "responseObject"))):
            table[kind(event)][column] += more
    print(f"{'verb':18}{'resource':18}{'requests':>9}{'KiB out':>9}{'KiB in':>9}   bodies as JSON; what watches bring is not in them")
    for (verb, resource), (count, out, into) in sorted(table.items(), key=lambda item: -item[1][0]):
        print(f"{verb:18}{resource:18}{count:9}{out / 1024:9.1f}{into / 1024:9.1f}")


def requests(run):
    kube.enter()
    server = relay = None
    own, api = OwnApiServer(run.folder), kube.Api()
    try:
        relay = Relay()
        config = run.folder / "kubeconfig"
        config.write_text(layout.KUBECONFIG.read_text().replace(f":{layout.API_PORT}", f":{RELAY_PORT}"))
        config.chmod(0o600)
        server = kube.Server(run.binaries, run.folder, config)
        rows = collections.defaultdict(list)
        for i in range(run.count):
            before, sent, received = len(finished(own.events())), relay.sent, relay.received
            name = f"w21-{i}"
            server.mayfly("up", "-q", "-f", run.root, "--name", name)
            time.sleep(6)
            server.mayfly("down", name)
            kube.await_gone(api)
            time.sleep(1)  # The last words of the watches.
            events = finished(own.events())[before:]
            writes = [event for event in events if event["verb"] not in READS]
            made = {(event["objectRef"]["resource"], event["objectRef"].get("name") or event["requestObject"]["metadata"]["name"])
                    for event in writes if event["verb"] in ("create", "patch", "update")}
            rows["objects"].append(len(made))
            rows["requests"].append(len(events))
            rows["writes"].append(len(writes) / len(made))
            rows["sent"].append((relay.sent - sent) / 1024)
            rows["received"].append((relay.received - received) / 1024)
            rows["failed"].append(sum(event["responseStatus"]["code"] >= 400 for event in events))
        show_requests(events)
        server.mayfly("up", "-q", "-f", run.root, "--name", "w21-idle")
        time.sleep(8)  # Whatever is still told of its start.
        before, moved = len(finished(own.events())), relay.sent + relay.received
        time.sleep(IDLE)
        polls, quiet = finished(own.events())[before:], relay.sent + relay.received - moved
        show_requests(polls)
    finally:
        if server:
            server.stop()
        if relay:
            relay.stop()
        own.stop()
    return [("objects of one W21", "", rows["objects"], None, "median"),
            ("writes an object, its end included", "", rows["writes"], 1.1, "max"),
            ("requests of one life", "", rows["requests"], None, "median"),
            ("refused requests of one life", "", rows["failed"], None, "max"),
            ("sent to the API server, with TLS", "KiB", rows["sent"], None, "median"),
            ("received from it, watches included", "KiB", rows["received"], None, "median"),
            (f"requests in {IDLE} s in which nothing happens", "", [len(polls)], 0, "max"),
            (f"bytes in {IDLE} s in which nothing happens", "", [quiet], None, "max")]
