"""Runs kube_pod_streams_test, whose path is the argument, inside the test cluster against a pod made for it.

    kube_pod_streams.py PROGRAM [GTEST_FLAGS...]

Exits with 77 when there is no cluster, which is a failure under MAYFLY_CLUSTER_REQUIRED=1.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cluster"))
import cluster  # noqa: E402
import images  # noqa: E402
import layout  # noqa: E402
import supervise  # noqa: E402

IMAGE = "mayfly.test/stream-peer:1"
POD = f"""apiVersion: v1
kind: Pod
metadata: {{name: peer, namespace: NAMESPACE}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: main, image: "{IMAGE}", imagePullPolicy: Never}}
  - {{name: other, image: "{IMAGE}", imagePullPolicy: Never, command: [/peer, cat], stdin: true}}
"""


def load_image():
    with tempfile.TemporaryDirectory() as work:
        made = images.Layout(pathlib.Path(work) / "image")
        program = images.compiled((HERE.parent / "workloads" / "peer.c").read_text(), "-O2")
        made.image(IMAGE, [made.layer({"peer": (program, 0o755)})], {"Entrypoint": ["/peer"]})
        made.close()
        archive = pathlib.Path(work) / "image.tar"
        with archive.open("wb") as out:
            images.pack(made.folder, out)
        with archive.open("rb") as packed:
            return cluster.inside(["ctr", "-a", layout.CONTAINERD_SOCKET, "-n", "k8s.io", "images", "import", "-"],
                                  stdin=packed, stdout=subprocess.DEVNULL)


def main():
    if supervise.first_process() is None:
        print("no cluster to test on; ./dev cluster up")
        sys.exit(1 if os.environ.get("MAYFLY_CLUSTER_REQUIRED") == "1" else 77)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    load_image().check_returncode()
    name = f"kube-pod-streams-{uuid.uuid4().hex[:8]}"
    try:
        cluster.kubectl("create", "namespace", name, stdout=subprocess.DEVNULL).check_returncode()
        cluster.kubectl("apply", "-f", "-", input=POD.replace("NAMESPACE", name), stdout=subprocess.DEVNULL).check_returncode()
        cluster.kubectl("wait", "-n", name, "--for=condition=Ready", "pod/peer", "--timeout=60s",
                        stdout=subprocess.DEVNULL).check_returncode()
        variables = {**os.environ, "KUBECONFIG": str(layout.KUBECONFIG), "MAYFLY_TEST_NAMESPACE": name}
        sys.exit(cluster.inside(sys.argv[1:], env=variables).returncode)
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false", stdout=subprocess.DEVNULL)


main()
