#!/usr/bin/python3
"""Images on the real cluster: pinned to what their tags name, with commands of their own, and from a registry with a
password."""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import cluster
import cluster_test
import environments_test
import layout

KIND = "application/vnd.oci.image.manifest.v1+json"


def variant(name, tag, config):
    """Runs inside: the image `name` under another tag, with other words in its configuration. Prints its digest."""
    registry = http.client.HTTPConnection(layout.REGISTRY, timeout=30)

    def call(method, path, body=None, **headers):
        path = path.split(layout.REGISTRY, 1)[-1]
        registry.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = registry.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return answer, text

    manifest = json.loads(call("GET", f"/v2/{name}/manifests/{layout.TAG}", Accept=KIND)[1])
    image = json.loads(call("GET", f"/v2/{name}/blobs/{manifest['config']['digest']}")[1])
    image["config"] |= config
    text = json.dumps(image).encode()
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    where = call("POST", f"/v2/{name}/blobs/uploads/")[0].headers["Location"]
    call("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", text, Content_Type="application/octet-stream")
    manifest["config"] |= {"digest": digest, "size": len(text)}
    text = json.dumps(manifest).encode()
    call("PUT", f"/v2/{name}/manifests/{tag}", text, Content_Type=KIND)
    print("sha256:" + hashlib.sha256(text).hexdigest())


def remove(name, digest):
    """Runs inside: takes a manifest away."""
    registry = http.client.HTTPConnection(layout.REGISTRY, timeout=30)
    registry.request("DELETE", f"/v2/{name}/manifests/{digest}")
    if registry.getresponse().status != 202:
        raise RuntimeError(f"{name}@{digest} is not removed")


def inside(*words):
    done = cluster.inside(words, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"{words}: {done.stderr}")
    return done.stdout


def push(name, tag, **config):
    return inside(sys.executable, "-B", __file__, "--variant", name, tag, json.dumps(config)).strip()


class Images(unittest.TestCase):
    def tearDown(self):
        if self.server.process.poll() is None:
            self.server.run("down", "--all", good=False)
            self.server.kill(15)
        self.folder.cleanup()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mayfly-images-")
        self.path = pathlib.Path(self.folder.name)
        self.tag = "t" + os.urandom(4).hex()
        self.server = environments_test.Server(self.path)
        self.server.flags = ["--registry-insecure", layout.REGISTRY]
        self.server.start()

    def spec(self, image, run=None):
        folder = self.path / "spec"
        (folder / "web").mkdir(parents=True, exist_ok=True)
        (folder / "envspec.yml").write_text("name: pinned\nservices: [web]\n")
        words = "" if run is None else f"run: {run}\n"
        (folder / "web" / "service.yml").write_text(f"name: web\nimage: {image}\ntype: http\n{words}")
        return folder

    def space(self, name):
        """Its kube namespace; older ones of that name may still be ending."""
        found = json.loads(environments_test.kubectl("get", "namespaces", "-l", environments_test.MANAGED, "-o", "json"))
        spaces = [item["metadata"]["name"] for item in found["items"]
                  if item["metadata"]["name"].startswith(name + "-") and item["status"]["phase"] == "Active"]
        self.assertEqual(len(spaces), 1)
        return spaces[0]

    def objects(self, kind, name):
        return json.loads(environments_test.kubectl("get", kind, "-n", self.space(name), "-o", "json"))["items"]

    def image_of(self, name):
        return self.objects("pods", name)[-1]["spec"]["containers"][0]["image"]

    def test_a_tag_that_moves_changes_no_environment(self):
        old = push("hello/clock", self.tag, Labels={"of": "old"})
        spec = self.spec(f"hello/clock:{self.tag}", "python3 clock.py")
        self.server.run("up", "-f", spec)
        pinned = f"{layout.REGISTRY}/hello/clock@{old}"
        self.assertEqual(self.image_of("pinned"), pinned)
        self.assertIn(f"hello/clock:{self.tag} is pinned to {old}", self.server.run("events", "pinned"))
        self.assertRegex(self.server.run("report", "pinned"), f"hello/clock:{self.tag} +{old} +web")
        new = push("hello/clock", self.tag, Labels={"of": "new"})
        self.assertNotEqual(old, new)
        # A server that comes back, and a new process, go on with what was pinned.
        self.server.kill()
        self.server.start()
        self.server.run("restart", "-f", spec, "web")
        self.assertEqual(self.image_of("pinned"), pinned)
        self.server.run("down", "pinned")
        told = json.loads(self.server.run("report", "pinned", "-o", "json"))["services"]
        self.assertEqual([node["images"] for node in told], [[{"name": f"hello/clock:{self.tag}", "digest": old}]])
        self.server.run("up", "-f", spec, "--name", "fresh")
        self.assertEqual(self.image_of("fresh"), f"{layout.REGISTRY}/hello/clock@{new}")

    def test_an_image_brings_its_own_command(self):
        push("hello/clock", self.tag, Entrypoint=["python3"], Cmd=["clock.py"])
        self.server.run("up", "-f", self.spec(f"hello/clock:{self.tag}"))
        self.server.run("down", "pinned")
        self.server.kill()
        self.server.flags = []  # It speaks https to what is plain http, and cannot read it.
        self.server.start()
        said = self.server.run("up", "-f", self.spec(f"hello/clock:{self.tag}"), "-o", "json", good=False)
        self.assertNotIn("ACTIVE", said)
        self.assertIn("write the command down with `run:`", self.server.run("report", "pinned", "-o", "json"))
        # With a command it comes up, unpinned, and says so.
        self.server.run("down", "pinned")
        self.server.run("up", "-f", self.spec(f"hello/clock:{self.tag}", "python3 clock.py"))
        self.assertEqual(self.image_of("pinned"), f"{layout.REGISTRY}/hello/clock:{self.tag}")
        self.assertIn("not pinned", self.server.run("events", "pinned"))

    def secrets(self):
        """What the cluster's machines may pull with, by the name of its Secret."""
        return {item["metadata"]["name"]: json.loads(base64.b64decode(item["data"][".dockerconfigjson"]))["auths"]
                for item in self.objects("secrets", "pinned") if item["type"] == "kubernetes.io/dockerconfigjson"}

    def log_in(self, *registries, password):
        """What `docker login` would write, outside of the state folder."""
        auth = base64.b64encode(f"{layout.REGISTRY_USER}:{password}".encode()).decode()
        self.config.write_text(json.dumps({"auths": {name: {"auth": auth} for name in registries}}))
        return auth

    def test_a_registry_with_a_password_is_pulled_from_with_the_servers_credentials(self):
        private = f"{layout.NODE_ADDRESS}:{layout.REGISTRY_PASSWORD_PORT}"
        push("hello/clock", self.tag, Labels={"of": self.tag})
        spec = self.spec(f"{private}/hello/clock:{self.tag}", "python3 clock.py")
        self.config = self.path.parent / (self.path.name + "-config.json")
        self.addCleanup(self.config.unlink)
        self.log_in(private, password="wrong")
        self.server.kill()
        self.server.flags += ["--registry-insecure", private, "--registry-config", self.config]
        self.server.start()
        self.server.run("up", "-f", spec, good=False)
        cause = json.loads(self.server.run("report", "pinned", "-o", "json"))["cause"]
        self.assertEqual(cause["code"], "REGISTRY_ACCESS")
        self.assertIn(private, cause["message"])
        self.server.run("down", "pinned")
        auth = self.log_in(private, "other.example", password=layout.REGISTRY_PASSWORD)
        self.server.run("up", "-f", spec)
        self.assertIn(f"{private}/hello/clock@sha256:", self.image_of("pinned"))
        made = self.secrets()
        self.assertEqual(list(made.values()), [{private: {"auth": auth}}], "only what the environment uses")
        self.assertEqual([pod["spec"]["imagePullSecrets"] for pod in self.objects("pods", "pinned")], [[{"name": name} for name in made]])
        # A server that comes back makes no other one, and what is made again goes on with it.
        self.server.kill()
        self.server.start()
        self.server.run("restart", "-f", spec, "web")
        self.assertEqual(self.secrets(), made)
        told = self.server.run("events", "pinned", "-o", "json") + self.server.run("report", "pinned", "-o", "json")
        self.server.run("down", "pinned")
        self.server.kill(15)
        for secret in (layout.REGISTRY_PASSWORD, auth):
            self.assertNotIn(secret, told)
            for path in self.path.rglob("*"):
                if path.is_file():
                    self.assertNotIn(secret.encode(), path.read_bytes(), path)

    def test_only_the_clusters_machines_are_refused_by_a_registry(self):
        # Which this server cannot read, so that the kubelet finds out.
        private = f"{layout.NODE_ADDRESS}:{layout.REGISTRY_PASSWORD_PORT}"
        self.server.run("up", "-f", self.spec(f"{private}/hello/clock:{self.tag}", "python3 clock.py"), good=False)
        cause = json.loads(self.server.run("report", "pinned", "-o", "json"))["cause"]
        self.assertEqual(cause["code"], "REGISTRY_ACCESS")
        self.assertIn(private, cause["message"])

    def mayfly(self, *words):
        """Exit code and what was said."""
        done = subprocess.run([environments_test.BIN / "mayfly", *words], capture_output=True, text=True, timeout=120, check=False,
                              env={**os.environ, "MAYFLY_STATE_DIR": str(self.path)})
        return done.returncode, done.stderr

    def test_a_replay_is_the_environment_of_then(self):
        old = push("hello/clock", self.tag, Labels={"of": "old " + self.tag})
        image = f"{layout.REGISTRY}/hello/clock@{old}"
        spec = self.spec(f"hello/clock:{self.tag}", "python3 clock.py")
        self.server.run("up", "-f", spec)
        self.server.run("down", "pinned")
        # The tag is moved, the specs are changed, the server is another one.
        self.assertNotEqual(old, push("hello/clock", self.tag, Labels={"of": "new " + self.tag}))
        (spec / "web" / "service.yml").write_text("name: web\nimage: hello/nobody:1\ntype: worker\nrun: other\n")
        self.server.kill()
        self.server.start()
        self.server.run("up", "--replay", "pinned", "--name", "again")
        self.assertEqual(self.image_of("again"), image)
        self.server.kill()
        self.server.start()
        self.server.run("restart", "web", "--name", "again")
        self.assertEqual(self.image_of("again"), image)
        self.assertEqual(self.mayfly("up", "--replay", "again")[0], 9)  # It is up.
        self.server.run("down", "again")
        # Neither the registry nor the machine has it any more.
        inside(sys.executable, "-B", __file__, "--remove", "hello/clock", old)
        ctr = ["ctr", "-a", layout.CONTAINERD_SOCKET, "-n", "k8s.io", "images"]
        inside(*ctr, "rm", *[line.split()[0] for line in inside(*ctr, "ls").splitlines() if old in line])
        code, said = self.mayfly("up", "--replay", "again", "--name", "late")
        self.assertEqual(code, 4, said)
        self.assertIn("IMAGE_NOT_FOUND", said)
        self.assertIn("is gone from the registry", said)

    def test_what_cannot_be_replayed_is_refused(self):
        self.assertEqual(self.mayfly("up", "--replay", "nobody")[0], 6)
        self.server.kill()
        self.server.flags = []  # Unpinned, as in the test above.
        self.server.start()
        self.server.run("up", "-f", self.spec("hello/clock:1", "python3 clock.py"))
        code, said = self.mayfly("up", "--replay", "pinned", "--name", "again")
        self.assertEqual(code, 6)
        self.assertIn("no digest was recorded of image hello/clock:1 of web", said)

    def test_an_unknown_image_is_known_at_once(self):
        self.server.run("up", "-f", self.spec("hello/nobody:1", "python3 clock.py"), good=False)
        self.assertIn("IMAGE_NOT_FOUND", self.server.run("report", "pinned", "-o", "json"))
        found = environments_test.kubectl("get", "pods", "-A", "-l", environments_test.MANAGED, "-o", "json")
        self.assertNotIn("hello/nobody", found, "no pod was made for it")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        variant(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
    elif sys.argv[1:2] == ["--remove"]:
        remove(sys.argv[2], sys.argv[3])
    else:
        cluster_test.main()
