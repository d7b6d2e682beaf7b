"""OCI images without a container tool: layouts in a folder, packed for `ctr images import` or pushed to a registry."""
import hashlib
import http.client
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import layout

_KIND = "application/vnd.oci.image."


def write_tar(out, entries):
    """Name -> file's path, (bytes, mode), or "-> target", with the folders above them. The same input gives the same
    bytes; a file keeps its time, by which Python knows what it has compiled. A name that ends in / is a folder that all
    may write to."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        folders = {str(parent) for name in entries for parent in pathlib.PurePosixPath(name).parents} - {".", *entries}
        for name, entry in sorted({**dict.fromkeys(folders), **entries}.items()):
            info = tarfile.TarInfo(name.rstrip("/"))
            if entry is None or name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("/") else 0o755
                tar.addfile(info)
            elif isinstance(entry, tuple):
                info.size, info.mode = len(entry[0]), entry[1]
                tar.addfile(info, io.BytesIO(entry[0]))
            elif isinstance(entry, str):
                info.type, info.linkname = tarfile.SYMTYPE, entry.removeprefix("-> ")
                tar.addfile(info)
            else:
                stat = entry.stat()
                info.size, info.mode, info.mtime = stat.st_size, stat.st_mode & 0o777, int(stat.st_mtime)
                with entry.open("rb") as file:
                    tar.addfile(info, file)


class Layout:
    """A folder of images. Layers are not compressed: they never travel far, and this saves seconds at every start."""

    def __init__(self, folder):
        self.folder, self.blobs, self.manifests = folder, folder / "blobs" / "sha256", []
        self.blobs.mkdir(parents=True)

    def _blob(self, kind, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"mediaType": _KIND + kind, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, entries):
        out = io.BytesIO()
        write_tar(out, entries)
        return self._blob("layer.v1.tar", out.getvalue())

    def image(self, name, layers, config):
        image = {"architecture": "amd64", "os": "linux", "config": config,
                 "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}
        manifest = {"schemaVersion": 2, "mediaType": _KIND + "manifest.v1+json",
                    "config": self._blob("config.v1+json", json.dumps(image, sort_keys=True).encode()), "layers": layers}
        entry = self._blob("manifest.v1+json", json.dumps(manifest, sort_keys=True).encode())
        entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
        self.manifests.append(entry)

    def close(self):
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.manifests}))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def pack(folder, out):
    write_tar(out, {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()})


class _Registry:
    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=60)
        self.address = address

    def call(self, method, path, good, body=None, **headers):
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in good:
            raise RuntimeError(f"{self.address}: {method} {path}: {answer.status} {text[:300].decode(errors='replace')}")
        return answer

    def blob(self, name, digest, file, have):
        """A blob that another name has is only linked."""
        mount = f"?mount={digest}&from={have[digest]}" if digest in have else ""
        answer = self.call("POST", f"/v2/{name}/blobs/uploads/{mount}", (201, 202))
        if answer.status == 202:
            where = answer.headers["Location"].split(self.address, 1)[1]
            with file.open("rb") as body:
                self.call("PUT", f"{where}{'&' if '?' in where else '?'}digest={digest}", (201,), body,
                          Content_Type="application/octet-stream", Content_Length=str(file.stat().st_size))
        have[digest] = name


def push(folder, address):
    """Every image of the layout whose name begins with the registry's address."""
    registry, have = _Registry(address), {}
    for entry in json.loads((folder / "index.json").read_text())["manifests"]:
        name, tag = entry["annotations"]["io.containerd.image.name"].removeprefix(address + "/").rsplit(":", 1)
        text = (folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
        manifest = json.loads(text)
        for blob in [manifest["config"], *manifest["layers"]]:
            registry.blob(name, blob["digest"], folder / "blobs" / blob["digest"].replace(":", "/"), have)
        registry.call("PUT", f"/v2/{name}/manifests/{tag}", (201,), text, Content_Type=manifest["mediaType"])


PAUSE = "mayfly.test/pause:1"
_PAUSE_SOURCE = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def compiled(source, *flags):
    with tempfile.TemporaryDirectory() as work:
        program = pathlib.Path(work) / "program"
        subprocess.run(["gcc", "-static", "-s", *flags, "-x", "c", "-o", program, "-"], input=source, text=True, check=True)
        return program.read_bytes()


def pause(folder):
    """What holds a pod's namespaces: the path of an archive."""
    path = folder / f"pause-{layout.digest(pathlib.Path(__file__))}.tar"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Layout(pathlib.Path(work) / "pause")
            made.image(PAUSE, [made.layer({"pause": (compiled(_PAUSE_SOURCE, "-Os"), 0o755)})], {"Entrypoint": ["/pause"]})
            made.close()
            packed = pathlib.Path(work) / "pause.tar"
            with packed.open("wb") as out:
                pack(made.folder, out)
            packed.rename(path)
    return path


if __name__ == "__main__":
    push(pathlib.Path(sys.argv[1]), sys.argv[2])  # Inside the cluster, where the registry is.
