#!/usr/bin/python3
"""./dev cluster up|down|status|kubeconfig|reset: a real Kubernetes node for tests, in namespaces of its own.

It has no way to any other network, everything of it lies in one folder and in control groups of one name, and `down`
leaves nothing, however it ended. MAYFLY_CLUSTER names one of several.
"""
import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import build
import groups
import images
import layout
import pki
import programs
import samples
import services
import supervise

OBJECTS = f"""apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: apiserver-kubelet}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:kubelet-api-admin"}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: apiserver-kubelet}}]
---
{services.MANIFEST}"""

ANSWERS = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=2)"


def inside(words, **options):
    """Runs in the cluster's network and mounts."""
    first = supervise.first_process()
    if first is None:
        raise RuntimeError("the cluster does not run; ./dev cluster up")
    return subprocess.run(["nsenter", "-t", str(first), "-m", "-n", "-p", "--", *map(str, words)], check=False, text=True,
                          **options)


def kubectl(*words, **options):
    return inside([build.module("node"), "kubectl", "--kubeconfig", layout.KUBECONFIG, *words], **options)


def _await(what, done, limit=60):
    end = time.monotonic() + limit
    while True:
        result = done()
        if result.returncode == 0:
            return
        if time.monotonic() > end:
            sys.exit(f"{what} within {limit} s: {(result.stderr or '').strip()}\nlogs are in {layout.LOGS}")
        time.sleep(0.05)


def _untainted():
    done = kubectl("get", "node", layout.NODE_NAME, "-o", "jsonpath={.spec.taints}", capture_output=True)
    done.returncode = done.returncode or bool(done.stdout)
    return done


def why_not():
    """Empty where a cluster can run."""
    if os.geteuid() != 0:
        return "a cluster needs root"
    missing = [name for name in ("containerd", "runc", "ip", "iptables", "conntrack", "nft", "nsenter", "openssl", "gcc",
                                 "docker-registry", "go") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}; ./dev setup" if missing else ""


def _made_of():
    """Changes with whatever a running cluster would have to be started again for."""
    return layout.digest(*(layout.HERE / name for name in (
        "addons", "build.py", "cni.c", "ingress", "layout.py", "node", "pki.py", "programs.py", "services.py",
        "supervise.py")))


def up():
    stamp = layout.ROOT / "made-of"
    if supervise.first_process() is not None:
        if not stamp.exists() or stamp.read_text() != _made_of():
            sys.exit(f"cluster {layout.NAME} runs, but was made by another version of tests/cluster; ./dev cluster down")
        print("runs already")
        return
    node, addons, ingress = (build.module(name) for name in ("node", "addons", "ingress"))
    folder = samples.make()
    down()
    begin = time.monotonic()
    layout.ROOT.mkdir(mode=0o711)
    layout.CONFIG.mkdir()
    layout.LOGS.mkdir()
    pki.make()
    supervise.start({**programs.make(node), **services.servers()}, services.clients(addons, ingress))
    silent = {"capture_output": True}
    _await("containerd did not take an image", lambda: inside(
        ["ctr", "-a", layout.CONTAINERD_SOCKET, "-n", "k8s.io", "images", "import", images.pause(layout.CACHE)], **silent))
    _await("the API server was not ready", lambda: kubectl("apply", "-f", "-", input=OBJECTS, **silent))
    supervise.go_on()
    _await("the node was not there", lambda: kubectl("get", "node", layout.NODE_NAME, **silent))
    _await("the node was not ready", lambda: kubectl(
        "wait", "--for=condition=Ready", "--timeout=60s", f"node/{layout.NODE_NAME}", **silent))
    _await("the registry took no images", lambda: _push(folder, **silent))
    # Not while it has a taint, and not before pods can be made.
    _await("the node kept its taint", _untainted)
    _await("names were not served", lambda: inside([sys.executable, "-c", ANSWERS, services.DNS_READY], **silent))
    _await("network policies were not enforced", lambda: inside(["nft", "list", "table", "ip", "mayfly-policy"], **silent))
    _await("no service account", lambda: kubectl("get", "serviceaccount", "default", **silent))
    stamp.write_text(_made_of())
    print(f"ready after {time.monotonic() - begin:.1f} s; kubeconfig {layout.KUBECONFIG}")


def _push(folder, **options):
    return inside([sys.executable, "-B", layout.HERE / "images.py", folder, layout.REGISTRY], **options)


def push_images(*words):
    """The images of the samples into the registry; with "preload" also onto the node."""
    folder = samples.make()
    done = _push(folder)
    if done.returncode == 0 and "preload" in words:
        with subprocess.Popen(["tar", "-C", folder, "-cf", "-", "."], stdout=subprocess.PIPE) as packed:
            done = inside(["ctr", "-a", layout.CONTAINERD_SOCKET, "-n", "k8s.io", "images", "import", "-"],
                          stdin=packed.stdout, stdout=subprocess.DEVNULL)
        # Under their digests, too, as after a pull: environments name them so.
        for entry in json.loads((folder / "index.json").read_text())["manifests"]:
            name = entry["annotations"]["io.containerd.image.name"]
            inside(["ctr", "-a", layout.CONTAINERD_SOCKET, "-n", "k8s.io", "images", "tag", "--force", name,
                    f"{name.rsplit(':', 1)[0]}@{entry['digest']}"], stdout=subprocess.DEVNULL)
    sys.exit(done.returncode)


def down():
    first = supervise.first_process()
    if first is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, 15)
    groups.end_all()
    groups.remove()
    if layout.ROOT.exists():
        shutil.rmtree(layout.ROOT)


def status():
    first = supervise.first_process()
    if first is None:
        sys.exit("down")
    print(f"up, first process {first}")
    print((layout.ROOT / "status").read_text(), end="")
    sys.exit(kubectl("get", "nodes", "-o", "wide").returncode)


def reset():
    """Every namespace that is not the cluster's own goes."""
    names = kubectl("get", "namespaces", "-o", "name", capture_output=True).stdout.split()
    own = {f"namespace/{name}" for name in ("default", "kube-system", "kube-public", "kube-node-lease")}
    extra = [name for name in names if name not in own]
    if extra:
        sys.exit(kubectl("delete", "--wait", *extra).returncode)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["up", "down", "status", "kubeconfig", "reset", "images", "tools",
                                         "kubectl", "exec", "possible"])
    parser.add_argument("words", nargs=argparse.REMAINDER, help="images: 'preload' puts them on the node, too; tools: which; kubectl: its arguments; exec: a command inside")
    flags = parser.parse_args()
    if why := why_not():
        sys.exit(why)
    if flags.verb == "possible":
        return
    if flags.verb == "kubeconfig":
        print(layout.KUBECONFIG)
    elif flags.verb == "kubectl":
        sys.exit(kubectl(*flags.words).returncode)
    elif flags.verb == "images":
        push_images(*flags.words)
    elif flags.verb == "tools":
        for name in flags.words or build.TOOLS:
            print(build.tool(name))
    elif flags.verb == "exec":
        sys.exit(inside(flags.words).returncode)
    else:
        {"up": up, "down": down, "status": status, "reset": reset}[flags.verb]()


if __name__ == "__main__":
    main()
