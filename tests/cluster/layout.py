"""Where everything of the test cluster is, and the numbers that its parts must agree on."""
import hashlib
import os
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
NAME = os.environ.get("MAYFLY_CLUSTER", "test")
# Built programs, by content: outside the build tree, so that no clean build makes them again.
CACHE = pathlib.Path(os.environ.get("MAYFLY_CLUSTER_CACHE") or pathlib.Path.home() / ".cache" / "mayfly" / "cluster")
ROOT = pathlib.Path("/var/tmp") / f"mayfly-cluster-{NAME}"  # All of one cluster; gone after `down`.
GROUP = f"mayfly-cluster-{NAME}"  # Its control group, in every hierarchy.

KUBERNETES = "1.34.3"
NODE_NAME = "node"
NODE_ADDRESS = "192.0.2.1"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
API_PORT = 6443
DNS_DOMAIN = "cluster.local"
INGRESS_PORT = 80
# One registry behind three doors on the node's address: open, with a certificate that no node trusts, with a password.
REGISTRY_PORT, REGISTRY_TLS_PORT, REGISTRY_PASSWORD_PORT = 5000, 5001, 5002
REGISTRY = f"{NODE_ADDRESS}:{REGISTRY_PORT}"
TAG = "1"  # Of every image in it.
REGISTRY_USER, REGISTRY_PASSWORD = "mayfly", "for-tests-only"

PKI = ROOT / "pki"
CONFIG = ROOT / "config"
LOGS = ROOT / "logs"
KUBECONFIG = ROOT / "kubeconfig"
PID = ROOT / "init.pid"
CNI = ROOT / "cni-plugins"
CONTAINERD_SOCKET = ROOT / "containerd.sock"


def digest(*paths, more=""):
    """Of the files' contents, folders with all that is in them."""
    total = hashlib.sha256(more.encode())
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc") if path.is_dir() else [path]
        for file in files:
            total.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:16]
