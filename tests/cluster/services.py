"""What a cluster has beside Kubernetes itself: names, images, network policies, ingress, volumes. Each program's configuration and command line."""
import crypt

import layout
import pki

CONFIG, PKI, ROOT, NODE = layout.CONFIG, layout.PKI, layout.ROOT, layout.NODE_ADDRESS

# What these programs may do, and the objects that they need.
_RIGHTS = """apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: "mayfly-test:{0}"}}
rules:
{1}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: "mayfly-test:{0}"}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "mayfly-test:{0}"}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: "mayfly-test:{0}"}}]
---
"""
MANIFEST = _RIGHTS.format("dns", """- {apiGroups: [""], resources: [services, namespaces, pods], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}""") + \
    _RIGHTS.format("policy", """- {apiGroups: [""], resources: [namespaces, pods], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch]}""") + \
    _RIGHTS.format("ingress", """- {apiGroups: [""], resources: [services, secrets, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [update]}""") + \
    _RIGHTS.format("volumes", """- {apiGroups: [""], resources: [persistentvolumes], verbs: [get, list, watch, create, patch, update, delete]}
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [get, list, watch, update]}
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [events], verbs: [create, patch, update]}
- {apiGroups: [storage.k8s.io], resources: [storageclasses], verbs: [get, list, watch]}""") + """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: traefik, annotations: {ingressclass.kubernetes.io/is-default-class: "true"}}
spec: {controller: traefik.io/ingress-controller}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: folders, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: mayfly.test/folders
volumeBindingMode: WaitForFirstConsumer
"""
DNS_READY = f"http://{NODE}:8181/ready"


def _client(name):
    pki.certificate(name, f"/CN=mayfly-test:{name}")
    path = CONFIG / f"{name}.kubeconfig"
    pki.kubeconfig(path, name)
    return path


def _dns(addons):
    # Nothing is forwarded, because there is no way out: other names do not exist. A name that was asked for too early is
    # known a second later.
    (CONFIG / "Corefile").write_text(f"""{layout.DNS_DOMAIN} in-addr.arpa ip6.arpa {{
  bind {NODE}
  ready {NODE}:8181
  errors
  cache 30 {{
    denial 9984 1
  }}
  loadbalance
  kubernetes {layout.DNS_DOMAIN} in-addr.arpa ip6.arpa {{
    kubeconfig {_client("dns")}
    pods insecure
  }}
}}
. {{
  bind {NODE}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
""")
    return [addons, "dns", "-conf", CONFIG / "Corefile"]


def _registry(name, port, more=""):
    """All three serve the same images."""
    path = CONFIG / f"{name}.yml"
    path.write_text(f"""version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {ROOT}/registry}}, delete: {{enabled: true}}}}
http:
  addr: {NODE}:{port}
  secret: of three processes that serve the same folder
{more}""")
    return ["docker-registry", "serve", path]


def servers():
    """Name -> words, for what needs no API server."""
    pki.authority("strange-ca")  # Which no node trusts.
    pki.certificate("registry", "/CN=registry", f"IP:{NODE}", authority="strange-ca")
    hashed = crypt.crypt(layout.REGISTRY_PASSWORD, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1 << 4))
    # The program knows bcrypt by its first name only.
    (CONFIG / "htpasswd").write_text(f"{layout.REGISTRY_USER}:{hashed.replace('$2b$', '$2y$', 1)}\n")
    for port in (layout.REGISTRY_PORT, layout.REGISTRY_PASSWORD_PORT):
        folder = CONFIG / "certs.d" / f"{NODE}:{port}"
        folder.mkdir(parents=True)
        at = f"http://{NODE}:{port}"
        # Both lines: after a 404 from its hosts containerd asks the server, and else says what https has answered.
        (folder / "hosts.toml").write_text(f'server = "{at}"\n[host."{at}"]\n  capabilities = ["pull", "resolve"]\n')
    return _words({
        "registry": _registry("registry", layout.REGISTRY_PORT),
        "registry-tls": _registry("registry-tls", layout.REGISTRY_TLS_PORT,
                                  f"  tls: {{certificate: {PKI}/registry.crt, key: {PKI}/registry.key}}\n"),
        "registry-password": _registry("registry-password", layout.REGISTRY_PASSWORD_PORT,
                                       f"auth: {{htpasswd: {{realm: test, path: {CONFIG}/htpasswd}}}}\n"),
    })


def clients(addons, ingress):
    """Name -> words, for what the API server must know first: the programs made of tests/cluster/addons and ingress."""
    return _words({
        "dns": _dns(addons),
        "policy": [addons, "policy", "-kubeconfig", _client("policy"), "-node", layout.NODE_NAME,
                   "-socket", layout.CNI / "policy.sock"],
        "ingress": [ingress, "-kubeconfig", _client("ingress"), "-address", f"{NODE}:{layout.INGRESS_PORT}", "-ip", NODE],
        "volumes": [addons, "volumes", "-kubeconfig", _client("volumes"), "-node", layout.NODE_NAME,
                    "-folder", ROOT / "volumes"],
    })


def _words(made):
    return {name: [str(word) for word in words] for name, words in made.items()}
