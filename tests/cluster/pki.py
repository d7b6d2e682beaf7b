"""Keys, certificates and kubeconfigs of the cluster, by the openssl program. They live as long as the cluster."""
import subprocess

import layout


def _openssl(*words, text=None):
    done = subprocess.run(["openssl", *map(str, words)], input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr.strip()}")


def _key(name):
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", layout.PKI / f"{name}.key")


def certificate(name, subject, names="", authority="ca"):
    """PKI/<name>.crt and .key, signed by the cluster's authority, for clients and servers alike."""
    _key(name)
    request, extensions = layout.PKI / f"{name}.csr", layout.PKI / f"{name}.ext"
    _openssl("req", "-new", "-key", layout.PKI / f"{name}.key", "-subj", subject, "-out", request)
    extensions.write_text("keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=clientAuth,serverAuth\n" +
                          (f"subjectAltName={names}\n" if names else ""))
    _openssl("x509", "-req", "-in", request, "-CA", layout.PKI / f"{authority}.crt", "-CAkey",
             layout.PKI / f"{authority}.key", "-CAcreateserial", "-days", "365", "-extfile", extensions, "-out",
             layout.PKI / f"{name}.crt")
    request.unlink()
    extensions.unlink()


def authority(name="ca"):
    _key(name)
    _openssl("req", "-x509", "-new", "-key", layout.PKI / f"{name}.key", "-subj", f"/CN={name}", "-days", "365", "-addext",
             "keyUsage=critical,keyCertSign,cRLSign", "-out", layout.PKI / f"{name}.crt")


def kubeconfig(path, name):
    path.write_text(f"""apiVersion: v1
kind: Config
current-context: {layout.GROUP}
clusters:
- name: {layout.GROUP}
  cluster: {{server: "https://{layout.NODE_ADDRESS}:{layout.API_PORT}", certificate-authority: {layout.PKI}/ca.crt}}
users:
- name: {name}
  user: {{client-certificate: {layout.PKI}/{name}.crt, client-key: {layout.PKI}/{name}.key}}
contexts:
- name: {layout.GROUP}
  context: {{cluster: {layout.GROUP}, user: {name}}}
""")
    path.chmod(0o600)


CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controllers": "/O=system:masters/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "kubelet": f"/O=system:nodes/CN=system:node:{layout.NODE_NAME}",
    "apiserver-kubelet": "/CN=apiserver-kubelet",
}


def make():
    layout.PKI.mkdir(mode=0o700)
    authority()
    certificate("apiserver", "/CN=apiserver",
                f"IP:{layout.NODE_ADDRESS},IP:{layout.API_SERVICE},IP:127.0.0.1,DNS:kubernetes,DNS:kubernetes.default,"
                f"DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.{layout.DNS_DOMAIN}")
    certificate("kubelet-server", f"/CN={layout.NODE_NAME}", f"IP:{layout.NODE_ADDRESS},DNS:{layout.NODE_NAME}")
    for name, subject in CLIENTS.items():
        certificate(name, subject)
        if name != "apiserver-kubelet":
            kubeconfig(layout.CONFIG / f"{name}.kubeconfig", name)
    _openssl("genrsa", "-out", layout.PKI / "accounts.key", "2048")
    _openssl("rsa", "-in", layout.PKI / "accounts.key", "-pubout", "-out", layout.PKI / "accounts.pub")
    kubeconfig(layout.KUBECONFIG, "admin")
