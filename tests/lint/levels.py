#!/usr/bin/env python3
"""Fails when a file includes against the levels of docs/architecture.md, or a confined library outside its folder."""
import pathlib
import re
import sys

# Folder -> folders it may include. A folder may always include itself.
BASE = ["include/mayfly/base"]
SPEC = BASE + ["include/mayfly/spec"]
VALUES = SPEC + ["include/mayfly/plan", "include/mayfly/engine", "include/mayfly/report"]
CORE = VALUES + ["server/base"]
ALLOWED = {
    "include/mayfly/base": [],
    "include/mayfly/spec": BASE,
    "include/mayfly/plan": SPEC,
    "include/mayfly/engine": SPEC,
    "include/mayfly/report": SPEC + ["include/mayfly/plan", "include/mayfly/engine"],
    "server/base": BASE,
    "server/spec": CORE,
    "server/git": CORE,
    "server/plan": CORE,
    "server/http": CORE,
    "server/obs": CORE,
    "server/engine/parts": CORE,
    "server/engine/local": CORE + ["server/engine/parts", "server/obs"],
    "server/engine/kubernetes": CORE + ["server/engine/parts", "server/http", "server/obs"],
    "server/store": CORE,
    "server/report": CORE,
    "server/run": CORE + ["server/spec", "server/git", "server/plan", "server/obs", "server/store", "server/report"],
    "server/lease": CORE + ["server/spec", "server/plan", "server/obs", "server/store", "server/report", "server/run"],
    "server/api": CORE + ["server/spec", "server/plan", "server/obs", "server/store", "server/report", "server/run",
                          "server/lease", "proto"],
    "server/web": CORE + ["server/obs", "server/store", "server/report", "server/run", "server/lease", "proto"],
    "server/app": ["include", "server", "proto"],
    "client/lib": BASE + ["server/base", "proto"],
    # The offline verbs (lint, schema, explain, init) read specs without a server: docs/adr.
    "client/cli": BASE + ["server/base", "proto", "client/lib", "include/mayfly/spec", "include/mayfly/plan",
                          "include/mayfly/engine", "server/spec", "server/plan"],
    "client/ci": BASE + ["proto", "client/lib"],
    "tests": ["include", "server", "client", "proto", "tests"],
}
# Header pattern -> folders that may use it.
CONFINED = {
    # A kubeconfig is YAML, too, but no spec: neither its strictness nor its messages are those of server/spec.
    r"yaml-cpp/": ["server/spec", "server/engine/kubernetes/client"],
    r"git2": ["server/git"],
    r"curl/": ["server/http"],
    r"nlohmann/": ["server/spec", "server/store", "server/report", "server/engine/kubernetes", "client/cli"],
    r"sqlite3": ["server/store"],
    r"pugixml": ["server/report"],
    r"grpc(pp)?/": ["server/api", "server/app", "client"],
    r"google/protobuf/": ["server/api", "server/app", "client"],
    r"CLI/": ["client/cli"],
    r"absl/synchronization/": [],
    r"gtest/|gmock/": [],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def folder_of(path, known):
    """The longest known folder that holds `path`, or None."""
    best = max((k for k in known if path == k or path.startswith(k + "/")), key=len, default=None)
    return best


def target_of(include):
    """Where an include of ours lies in the tree; None for system and third-party headers."""
    if include.startswith("mayfly/v1/"):
        return "proto/" + include
    if include.startswith("mayfly/"):
        return "include/" + include
    if include.split("/")[0] in ("server", "client", "tests"):
        return include
    return None


def check(path, text):
    """Yields one message per include of `path` that goes the wrong way."""
    own = folder_of(path, ALLOWED)
    if own is None and path == "server/main.cc":
        own = "server/app"
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        include = match.group(2)
        if own is None:
            yield f"{path}:{number}: this folder has no level; add it to tests/lint/levels.py and docs/architecture.md"
            return
        target = target_of(include)
        if target is not None:
            allowed = ALLOWED[own] + [own]
            if not any(target.startswith(a + "/") for a in allowed):
                yield f"{path}:{number}: {own} may not include {include} (see the levels in docs/architecture.md)"
        elif own != "tests":
            for pattern, homes in CONFINED.items():
                if re.match(pattern, include) and not any(path.startswith(h + "/") or path == "server/main.cc"
                                                          and h == "server/app" for h in homes):
                    where = " or ".join(homes) or "tests"
                    yield f"{path}:{number}: {include} is confined to {where}"


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    errors = []
    count = 0
    for top in ("include", "server", "client", "tests"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".c", ".in"):
                count += 1
                errors += check(str(path.relative_to(root)), path.read_text(errors="replace"))
    print("\n".join(errors) if errors else f"{count} files include the right way")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
