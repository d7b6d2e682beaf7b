#!/usr/bin/python3
"""The test cluster is a real one: names resolve, images are really pulled, and what must fail fails as it does for users."""
import base64
import json
import os
import sys
import time
import unittest

import cluster
import layout
import supervise

NAMESPACE = f"cluster-test-{os.getpid()}"


def kubectl(*words, data=None, good=True):
    done = cluster.kubectl("-n", NAMESPACE, *words, input=data, capture_output=True)
    if good and done.returncode != 0:
        raise AssertionError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout if good else done


def apply(*objects):
    kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def pod(name, image, command, **spec):
    """As a hardened namespace wants it."""
    container = {"name": "main", "image": image, "command": command, "imagePullPolicy": spec.pop("pull", "IfNotPresent"),
                 "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *spec.pop("mounts", [])],
                 "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                                     "readOnlyRootFilesystem": True}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0, "containers": [container],
        "securityContext": {"runAsUser": 65532, "runAsNonRoot": True, "fsGroup": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"}},
        **spec, "volumes": [{"name": "tmp", "emptyDir": {}}, *spec.get("volumes", [])]}}


def image(name, address=layout.REGISTRY):
    return f"{address}/{name}:{layout.TAG}"


def ready(*names):
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", *(f"pod/{name}" for name in names))


def python(name, text):
    done = kubectl("exec", name, "--", "python3", "-c", text, good=False)
    return (done.stdout + done.stderr).strip()


def within(seconds, ask, wanted):
    """What `ask` says as soon as it is wanted, or at the end."""
    end = time.monotonic() + seconds
    while not wanted(said := ask()) and time.monotonic() < end:
        time.sleep(0.1)
    return said


def setUpModule():
    kubectl("create", "namespace", NAMESPACE)
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    within(10, lambda: kubectl("get", "serviceaccount", "default", good=False).returncode, lambda code: code == 0)
    apply(pod("asks", image("mayfly/base"), ["sleep", "1000"]))
    ready("asks")


def tearDownModule():
    cluster.kubectl("delete", "namespace", NAMESPACE, capture_output=True)


class Names(unittest.TestCase):
    def resolve(self, name):
        return python("asks", f"import socket; print(socket.gethostbyname({name!r}))")

    def test_a_service_has_its_name_in_pods(self):
        apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "plain"}, "spec": {"ports": [{"port": 80}]}})
        address = kubectl("get", "service", "plain", "-o", "jsonpath={.spec.clusterIP}")
        for name in ("plain", f"plain.{NAMESPACE}", f"plain.{NAMESPACE}.svc.{layout.DNS_DOMAIN}"):
            self.assertEqual(within(3, lambda n=name: self.resolve(n), lambda said: said == address), address)

    def test_a_headless_service_resolves_to_a_slice_written_by_hand(self):
        apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bare"},
               "spec": {"clusterIP": "None", "ports": [{"port": 80}]}},
              {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": {"name": "bare-mine", "labels": {"kubernetes.io/service-name": "bare"}},
               "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.244.0.250"], "conditions": {"ready": True}}]})
        self.assertEqual(within(3, lambda: self.resolve("bare"), lambda said: said == "10.244.0.250"), "10.244.0.250")

    def test_other_names_do_not_exist(self):
        for name in ("nobody", "example.com"):
            self.assertIn("Name or service not known", self.resolve(name))


class Images(unittest.TestCase):
    def why_not(self, name, wanted, ref, **spec):
        apply(pod(name, ref, ["sleep", "1000"], pull="Always", **spec))
        said = within(20, lambda: kubectl(
            "get", "events", "--field-selector", f"involvedObject.name={name},reason=Failed", "-o",
            "jsonpath={.items[*].message}"), lambda said: wanted in said)
        self.assertIn(wanted, said)

    def test_one_that_is_not_there(self):
        self.why_not("absent", "mayfly/absent:1: not found", image("mayfly/absent"))

    def test_a_registry_that_wants_a_password(self):
        self.why_not("locked", "401 Unauthorized", image("mayfly/base", f"{layout.NODE_ADDRESS}:{layout.REGISTRY_PASSWORD_PORT}"))

    def test_a_registry_whose_certificate_nobody_knows(self):
        self.why_not("strange", "certificate signed by unknown authority",
                     image("mayfly/base", f"{layout.NODE_ADDRESS}:{layout.REGISTRY_TLS_PORT}"))

    def test_a_pull_secret_opens_the_locked_one(self):
        address = f"{layout.NODE_ADDRESS}:{layout.REGISTRY_PASSWORD_PORT}"
        word = base64.b64encode(f"{layout.REGISTRY_USER}:{layout.REGISTRY_PASSWORD}".encode()).decode()
        apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "type": "kubernetes.io/dockerconfigjson",
               "stringData": {".dockerconfigjson": json.dumps({"auths": {address: {"auth": word}}})}},
              pod("opened", image("mayfly/base", address), ["sleep", "1000"], pull="Always", imagePullSecrets=[{"name": "key"}]))
        ready("opened")

    def test_the_samples_run_as_nobody_on_a_read_only_root(self):
        apply(pod("postgres", image("shop/postgres"), ["env", "PGDATA=/tmp/postgres", "./start.sh"]),
              pod("redis", image("shop/redis"), ["redis-server", "redis.conf"]),
              pod("workload", image("mayfly/workload"), ["./mayfly-workload", "http", "8080"]),
              pod("slow", image("w21/workload"), ["./workload", "sleep", "10", "tcp", "8080"]),
              pod("nginx", image("shop/gateway"), ["sh", "-c", "echo 'daemon off; pid /tmp/p; events {} http { access_log off; "
                  "client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; "
                  "scgi_temp_path /tmp/e; server { listen 8080; return 200; } }' >/tmp/n; exec nginx -e stderr -c /tmp/n"]))
        ready("postgres", "redis", "workload", "slow", "nginx")
        self.assertEqual(python("asks", "import grpc, google.protobuf, psycopg2, redis; print('there')"), "there")
        select = ["exec", "postgres", "--", "/usr/lib/postgresql/15/bin/psql", "-h", "127.0.0.1", "-Ushop", "-tAc", "select 7", "shop"]
        said = within(20, lambda: kubectl(*select, good=False), lambda said: said.returncode == 0)
        self.assertEqual(said.stdout.strip(), "7", said.stderr)
        address = kubectl("get", "pod", "nginx", "-o", "jsonpath={.status.podIP}")
        ask = f"import urllib.request; print(urllib.request.urlopen('http://{address}:8080', timeout=2).status)"
        self.assertEqual(within(10, lambda: python("asks", ask), lambda said: said == "200"), "200")


class Policies(unittest.TestCase):
    """In the order of their names: each adds to what the one before has allowed."""

    ASK = ("import socket, sys\ntry: socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5).close(); print('open')\n"
           "except OSError as error: print(error)")

    @classmethod
    def setUpClass(cls):
        apply(*(pod(f"policy-{name}", image("mayfly/base"), ["python3", "-m", "http.server", "8080"])
                for name in ("server", "friend", "stranger")))
        ready("policy-server", "policy-friend", "policy-stranger")
        cls.address = kubectl("get", "pod", "policy-server", "-o", "jsonpath={.status.podIP}")

    @classmethod
    def tearDownClass(cls):
        kubectl("delete", "networkpolicy", "--all")

    def reach(self, name, address=None, port=8080):
        return kubectl("exec", f"policy-{name}", "--", "python3", "-c", self.ASK, address or self.address, str(port)).strip()

    def expect(self, said, name, *to):
        self.assertEqual(within(5, lambda: self.reach(name, *to), lambda got: got == said), said, name)

    @staticmethod
    def allow(name, selected, **rules):
        apply({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": {
            "podSelector": {"matchLabels": {"app": f"policy-{selected}"}}, **rules}})

    def test_1_nothing_is_denied_without_a_policy(self):
        for name in ("friend", "stranger"):
            self.expect("open", name)

    def test_2_what_is_denied_does_not_answer(self):
        self.allow("deny-in", "server", policyTypes=["Ingress"])
        self.expect("timed out", "friend")
        done = cluster.inside(["/usr/bin/python3", "-c", self.ASK, self.address, "8080"], capture_output=True)
        self.assertEqual(done.stdout.strip(), "open", "the node itself probes")

    def test_3_who_is_let_in_gets_an_answer(self):
        self.allow("friends-in", "server", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "policy-friend"}}}],
                                                     "ports": [{"port": 8080}]}])
        self.expect("open", "friend")
        self.expect("timed out", "stranger")

    def test_4_nothing_goes_out_either_not_even_to_the_node(self):
        self.allow("deny-out", "friend", policyTypes=["Egress"])
        self.expect("timed out", "friend")
        self.expect("timed out", "friend", layout.NODE_ADDRESS, layout.REGISTRY_PORT)
        self.expect("open", "stranger", layout.NODE_ADDRESS, layout.REGISTRY_PORT)
        self.allow("names-out", "friend", policyTypes=["Egress"], egress=[
            {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}]},
            {"to": [{"ipBlock": {"cidr": f"{layout.NODE_ADDRESS}/32"}}], "ports": [{"port": 5000, "endPort": 5001}]}])
        self.expect("open", "friend", layout.NODE_ADDRESS, 53)
        self.expect("open", "friend", layout.NODE_ADDRESS, layout.REGISTRY_PORT)
        self.expect("timed out", "friend", layout.NODE_ADDRESS, layout.REGISTRY_PASSWORD_PORT)

    def test_5_a_pod_is_known_before_its_first_packet(self):
        self.allow("late-in", "server", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "policy-late"}}}]}])
        apply(pod("policy-late", image("mayfly/base"), ["sh", "-c", f"python3 -c \"{self.ASK}\" {self.address} 8080; sleep 1000"]))
        ready("policy-late")
        self.assertEqual(within(5, lambda: kubectl("logs", "policy-late").strip(), bool), "open")


class Ingresses(unittest.TestCase):
    def answer(self, host, path="/"):
        ask = ("import http.client, sys\nc = http.client.HTTPConnection(sys.argv[1], timeout=2)\n"
               "c.request('GET', sys.argv[3], headers={'Host': sys.argv[2]})\nprint(c.getresponse().status)")
        done = cluster.inside(["/usr/bin/python3", "-c", ask, layout.NODE_ADDRESS, host, path], capture_output=True)
        return (done.stdout + done.stderr).strip()

    def test_an_ingress_leads_to_the_pods_of_its_service(self):
        web = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
               "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}
        to = {"service": {"name": "web", "port": {"number": 80}}}
        apply(web, pod("web", image("mayfly/workload"), ["./mayfly-workload", "http", "8080"]), {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": {"rules": [{
                "host": "web.test", "http": {"paths": [{"path": "/in", "pathType": "Prefix", "backend": to}]}}]}})
        self.assertEqual(within(20, lambda: self.answer("web.test", "/in/side"), lambda said: said == "200"), "200")
        self.assertEqual(self.answer("web.test", "/inside"), "404")
        self.assertEqual(self.answer("other.test", "/in"), "404")
        status = within(5, lambda: kubectl("get", "ingress", "web", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}"), bool)
        self.assertEqual(status, layout.NODE_ADDRESS)


class Volumes(unittest.TestCase):
    def test_a_claim_is_bound_when_a_pod_uses_it_and_outlives_the_pod(self):
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                 "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}
        uses = {"mounts": [{"name": "data", "mountPath": "/data"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}
        apply(claim, pod("writes", image("mayfly/base"), ["sh", "-c", "echo kept >/data/file; sleep 1000"], **uses))
        ready("writes")
        folder = kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
        kubectl("delete", "pod", "writes")
        apply(pod("reads", image("mayfly/base"), ["sleep", "1000"], **uses))
        ready("reads")
        self.assertEqual(kubectl("exec", "reads", "--", "cat", "/data/file").strip(), "kept")
        kubectl("delete", "pod", "reads")
        kubectl("delete", "pvc", "data")
        self.assertTrue(within(10, lambda: not (layout.ROOT / "volumes" / folder).exists(), bool))


def skip_where_none_can_run():
    if why := cluster.why_not():
        print(f"the cluster tier cannot run here: {why}")
        sys.exit(1 if os.environ.get("CI") == "true" else 77)


def main():
    skip_where_none_can_run()
    was_up = supervise.first_process() is not None
    if not was_up:
        cluster.up()
    try:
        unittest.main(verbosity=2)
    finally:
        if not was_up:
            cluster.down()


if __name__ == "__main__":
    main()
