"""OCI images without a container tool: archives in the form that `ctr images import` reads."""
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile

import layout


def _tar(entries):
    """Name -> (bytes, mode), with the folders above them; the same input gives the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        folders = sorted({str(parent) for name in entries for parent in pathlib.PurePosixPath(name).parents} - {"."})
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        for name, (content, mode) in sorted(entries.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive(path, name, entries, config):
    """Writes `path`, an OCI archive of image `name` with one layer of `entries`."""
    layer = _tar(entries)
    packed = gzip.compress(layer, mtime=0)
    image = {"architecture": "amd64", "os": "linux", "config": config,
             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]}}
    blobs = {}

    def blob(content, media):
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = (content, 0o644)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image."
    manifest = {"schemaVersion": 2, "mediaType": kind + "manifest.v1+json",
                "config": blob(json.dumps(image, sort_keys=True).encode(), kind + "config.v1+json"),
                "layers": [blob(packed, kind + "layer.v1.tar+gzip")]}
    entry = blob(json.dumps(manifest, sort_keys=True).encode(), kind + "manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
    index = {"schemaVersion": 2, "manifests": [entry]}
    blobs["index.json"] = (json.dumps(index).encode(), 0o644)
    blobs["oci-layout"] = (b'{"imageLayoutVersion":"1.0.0"}', 0o644)
    path.write_bytes(_tar(blobs))


PAUSE = "mayfly.test/pause:1"
_PAUSE_SOURCE = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); signal(SIGCHLD, reap); for (;;) pause(); }
"""


def pause(folder):
    """What holds a pod's namespaces."""
    path = folder / f"pause-{layout.digest(pathlib.Path(__file__))}.tar"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory() as work:
        program = pathlib.Path(work) / "pause"
        subprocess.run(["gcc", "-Os", "-static", "-s", "-x", "c", "-o", program, "-"], input=_PAUSE_SOURCE, text=True,
                       check=True)
        archive(path, PAUSE, {"pause": (program.read_bytes(), 0o755)}, {"Entrypoint": ["/pause"]})
    return path
