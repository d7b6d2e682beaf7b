"""How others bring up the same services in order, for kube-startup: with the same images, security contexts and commands, a
Service each, and readiness probes at the kubelet's fastest pace of 1 s. Each returns the seconds until its tool says ready.
"""
import json
import os
import subprocess
import time

import build
import kube
import layout

PACE = 0.1  # Between two tries of a waiting init container, in seconds. People write 1 or 2.
LIMIT = "180s"


def service(name):
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 8080}]}}


def pod(name, milliseconds, waits_for=()):
    """`waits_for`: services whose ports an init container waits for."""
    made = kube.bare_pod(name)
    container = made["spec"]["containers"][0]
    container["command"] = ["./workload", "sleep", str(milliseconds), "tcp", "8080"]
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    if waits_for:
        tries = "".join(f"until (exec 3<>/dev/tcp/{need}/8080) 2>/dev/null; do sleep {PACE}; done; " for need in waits_for)
        made["spec"]["initContainers"] = [{"name": "wait", "image": kube.IMAGE, "imagePullPolicy": "IfNotPresent",
                                           "command": ["bash", "-c", tries],
                                           "securityContext": container["securityContext"]}]
    return made


def account():
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}}


def objects(services, waiting):
    found = []
    for name, milliseconds, needs in services:
        found += [service(name), pod(name, milliseconds, needs if waiting else ())]
    return found


def tiers(services):
    """The services by how many others are before them at most."""
    depth = {}
    for name, _, needs in services:  # Needs come first.
        depth[name] = 1 + max((depth[need] for need in needs), default=-1)
    return [[one for one in services if depth[one[0]] == level] for level in range(max(depth.values()) + 1)]


class Peers:
    """Of one run; `folder` is for their caches and charts."""

    def __init__(self, folder, services):
        self.folder, self.services = folder, services
        self.kubectl_words = [build.module("node"), "kubectl", "--kubeconfig", layout.KUBECONFIG]
        self.helm = build.tool("helm")
        self.env = {**os.environ, "HOME": str(folder), "KUBECONFIG": str(layout.KUBECONFIG)}
        for name in [name for name in self.env if name.startswith(("XDG_", "HELM_"))]:
            del self.env[name]
        templates = folder / "chart" / "templates"
        templates.mkdir(parents=True)
        (folder / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: w21\nversion: 0.1.0\n")
        for i, one in enumerate([account(), *objects(services, True)]):
            (templates / f"{i:03}.yaml").write_text(json.dumps(one))
        self.ways = {"tier by tier": self.tier_by_tier, "init containers": self.init_containers, "helm": self.helm_install}

    def run(self, words, given=None):
        done = subprocess.run([str(word) for word in words], input=given, text=True, capture_output=True, env=self.env,
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, words[:4]))}...: {done.stderr[-2000:]}")

    def apply(self, space, items):
        self.run([*self.kubectl_words, "-n", space, "apply", "-f", "-"],
                 json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def wait(self, space, names):
        self.run([*self.kubectl_words, "-n", space, "wait", "--for=condition=Ready", f"--timeout={LIMIT}",
                  *(f"pod/{name}" for name in names)])

    def tier_by_tier(self, space):
        self.run([*self.kubectl_words, "create", "namespace", space])
        for i, tier in enumerate(tiers(self.services)):
            self.apply(space, ([account()] if i == 0 else []) + objects(tier, False))
            self.wait(space, [name for name, _, _ in tier])

    def init_containers(self, space):
        self.run([*self.kubectl_words, "create", "namespace", space])
        self.apply(space, [account(), *objects(self.services, True)])
        self.wait(space, [name for name, _, _ in self.services])

    def helm_install(self, space):
        self.run([self.helm, "install", "w21", self.folder / "chart", "--wait", f"--timeout={LIMIT}", "--namespace", space,
                  "--create-namespace"])

    def take(self, api, way, number):
        """One start in the way of that name, and its end's beginning."""
        space = f"{kube.PEER_PREFIX}{os.getpid()}-{number}-{list(self.ways).index(way)}"
        begin = time.monotonic()
        self.ways[way](space)
        took = time.monotonic() - begin
        kube.begin_end(api, space)
        return took
