"""Programs made from Go modules, kept by content."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import layout

MINOR = layout.KUBERNETES.split(".")[1]
_FLAGS = ("-s -w -X k8s.io/component-base/version.gitVersion=v{0} -X k8s.io/component-base/version.gitMajor=1 "
          "-X k8s.io/component-base/version.gitMinor={1}").format(layout.KUBERNETES, MINOR)


def _go():
    # Its own installer's place counts, too: not every shell has it in PATH.
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise RuntimeError("the test cluster is built from Go modules: Go 1.25 or later is needed in PATH")
    return go


# Only built when asked for: benchmarks compare with them.
TOOLS = {"kwok": "sigs.k8s.io/kwok/cmd/kwok", "helm": "helm.sh/helm/v4/cmd/helm"}


def tool(name):
    return module(name, TOOLS[name])


def module(folder, package="."):
    """The program of a Go module beside this file, or of one that it requires."""
    source = layout.HERE / folder
    go = _go()
    version = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
    kept = layout.CACHE / f"{folder}-{layout.digest(source, more=version + _FLAGS)}"
    if kept.exists():
        return kept
    print(f"building {folder}, once: some minutes", flush=True)
    layout.CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.CACHE) as work:
        made = pathlib.Path(work) / folder
        subprocess.run([go, "build", "-trimpath", "-ldflags", _FLAGS, "-o", made, package], cwd=source, check=True,
                       env={**os.environ, "CGO_ENABLED": "0"})
        made.rename(kept)
    return kept
