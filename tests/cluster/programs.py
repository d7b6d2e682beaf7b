"""What runs in the cluster: each program's configuration and command line, in order of start."""
import json

import images
import layout

PKI, CONFIG, ROOT = layout.PKI, layout.CONFIG, layout.ROOT


def _containerd():
    text = f"""version = 2
root = "{ROOT}/containerd"
state = "{ROOT}/containerd-state"
[grpc]
  address = "{layout.CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "mayfly.test/pause:1"
  restrict_oom_score_adj = true
  max_container_log_line_size = 16384
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{CONFIG}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{layout.CNI}"
    conf_dir = "{CONFIG}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""
    (CONFIG / "containerd.toml").write_text(text)
    (CONFIG / "cni").mkdir()
    (CONFIG / "cni" / "10-pods.conflist").write_text(json.dumps({
        "cniVersion": "0.4.0", "name": "pods", "plugins": [
            {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": layout.POD_RANGE}]],
                      "routes": [{"dst": "0.0.0.0/0"}], "dataDir": str(ROOT / "cni")}},
            {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "policy"}]}))
    layout.CNI.mkdir()
    for plugin in ("loopback", "bridge", "host-local", "portmap"):
        (layout.CNI / plugin).symlink_to(f"/usr/lib/cni/{plugin}")
    (layout.CNI / "policy").write_bytes(images.compiled((layout.HERE / "cni.c").read_text(), "-Os"))
    (layout.CNI / "policy").chmod(0o755)
    return ["containerd", "--config", CONFIG / "containerd.toml"]


def _etcd(node):
    return [node, "etcd", "--data-dir", ROOT / "etcd", "--unsafe-no-fsync", "--log-level", "warn",
            "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
            "--listen-peer-urls", "http://127.0.0.1:2380"]


def _apiserver(node):
    policy = CONFIG / "audit.yaml"
    # Writes only, with who and what: tests ask it what mayfly has touched.
    policy.write_text("""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
""")
    return [node, "apiserver", "--etcd-servers", "http://127.0.0.1:2379", "--bind-address", layout.NODE_ADDRESS,
            "--advertise-address", layout.NODE_ADDRESS, "--secure-port", layout.API_PORT,
            "--service-cluster-ip-range", layout.SERVICE_RANGE, "--authorization-mode", "Node,RBAC",
            "--enable-admission-plugins", "NodeRestriction", "--client-ca-file", PKI / "ca.crt",
            "--tls-cert-file", PKI / "apiserver.crt", "--tls-private-key-file", PKI / "apiserver.key",
            "--kubelet-client-certificate", PKI / "apiserver-kubelet.crt",
            "--kubelet-client-key", PKI / "apiserver-kubelet.key",
            "--kubelet-certificate-authority", PKI / "ca.crt", "--kubelet-preferred-address-types", "InternalIP",
            "--service-account-issuer", f"https://kubernetes.default.svc.{layout.DNS_DOMAIN}",
            "--service-account-key-file", PKI / "accounts.pub", "--service-account-signing-key-file", PKI / "accounts.key",
            "--audit-policy-file", policy, "--audit-log-path", layout.LOGS / "audit.log"]


def _controllers(node):
    # Not with an account for each controller: to make these takes six seconds at 20 requests a second.
    return [node, "controllers", "--kubeconfig", CONFIG / "controllers.kubeconfig", "--bind-address", "127.0.0.1",
            "--root-ca-file", PKI / "ca.crt", "--leader-elect=false",
            "--service-account-private-key-file", PKI / "accounts.key",
            "--cluster-signing-cert-file", PKI / "ca.crt", "--cluster-signing-key-file", PKI / "ca.key"]


def _scheduler(node):
    return [node, "scheduler", "--kubeconfig", CONFIG / "scheduler.kubeconfig", "--bind-address", "127.0.0.1",
            "--leader-elect=false"]


def _kubelet(node):
    (CONFIG / "resolv.conf").write_text("")
    (CONFIG / "kubelet.json").write_text(json.dumps({
        "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": layout.NODE_ADDRESS, "failCgroupV1": False, "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + layout.GROUP,
        "enforceNodeAllocatable": [], "localStorageCapacityIsolation": False, "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{layout.CONTAINERD_SOCKET}", "resolvConf": str(CONFIG / "resolv.conf"),
        "clusterDNS": [layout.NODE_ADDRESS], "clusterDomain": layout.DNS_DOMAIN, "maxPods": 250,
        "tlsCertFile": str(PKI / "kubelet-server.crt"), "tlsPrivateKeyFile": str(PKI / "kubelet-server.key"),
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": str(PKI / "ca.crt")}},
        "authorization": {"mode": "Webhook"}, "serializeImagePulls": False, "registryPullQPS": 0,
        "evictionHard": {"memory.available": "100Mi"}, "imageGCHighThresholdPercent": 100,
        "podLogsDir": str(ROOT / "pod-logs")}))
    return [node, "kubelet", "--config", CONFIG / "kubelet.json", "--kubeconfig", CONFIG / "kubelet.kubeconfig",
            "--root-dir", ROOT / "kubelet", "--hostname-override", layout.NODE_NAME, "--node-ip", layout.NODE_ADDRESS]


def _proxy(node):
    none = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s", "udpTimeout": "0s",
            "udpStreamTimeout": "0s"}
    (CONFIG / "proxy.json").write_text(json.dumps({
        "kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "mode": "iptables",
        "clientConnection": {"kubeconfig": str(CONFIG / "proxy.kubeconfig")}, "clusterCIDR": layout.POD_RANGE,
        "hostnameOverride": layout.NODE_NAME, "conntrack": none}))
    return [node, "proxy", "--config", CONFIG / "proxy.json"]


def make(node):
    """Name -> words, in order of start. `node` is the program made of tests/cluster/node."""
    made = {"etcd": _etcd(node), "containerd": _containerd(), "apiserver": _apiserver(node),
            "controllers": _controllers(node), "scheduler": _scheduler(node), "kubelet": _kubelet(node),
            "proxy": _proxy(node)}
    return {name: [str(word) for word in words] for name, words in made.items()}
