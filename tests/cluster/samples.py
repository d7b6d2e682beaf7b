"""The images of the samples: what they need of the installed Debian packages in one layer, each sample's files in another.

Nothing is downloaded: the packages are those that the samples run with on this machine.
"""
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import images
import layout

REPOSITORY = layout.HERE.parent.parent
ENVSPECS = REPOSITORY / "envspecs"
WORKLOAD = REPOSITORY / "tests" / "workloads" / "workload.c"
USER = 65532
# Libraries come by themselves. A package's Python dependencies do, too; its other ones do not, else a third would be Perl.
PACKAGES = ["base-files", "bash", "coreutils", "dash", "grep", "hostname", "libc-bin", "netbase", "sed", "tzdata",
            "python3", "python3-minimal", "python3-grpcio", "python3-protobuf", "python3-psycopg2", "python3-redis",
            "postgresql-15", "postgresql-client-15", "redis-server", "redis-tools", "nginx", "nginx-light"]
# llvmjit alone would draw in a compiler of 110 MB.
UNWANTED = re.compile(r"/usr/share/(doc|man|info|locale|lintian|bug|common-licenses|doc-base|perl5|postgresql-common)(/|$)"
                      r"|/usr/share/zoneinfo/right/|/usr/share/postgresql/15/(man|tsearch_data/(?!english))"
                      r"|/llvmjit|/bitcode/|/usr/lib/python3\.11/(idlelib|turtledemo|lib2to3|test|ensurepip|pydoc_data)(/|$)"
                      r"|/usr/lib/postgresql/15/bin/(pg_(?!isready|ctl)|pgbench|vacuum|reindex|cluster)"
                      r"|/usr/include/|/etc/(init|cron|logrotate|systemd|sysctl|ufw|apparmor)|/lib/systemd/|\.a$")
ETC = {"passwd": f"root:x:0:0:root:/root:/bin/sh\nmayfly:x:{USER}:{USER}:mayfly:/tmp:/bin/sh\n",
       "group": f"root:x:0:\nmayfly:x:{USER}:\n", "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"}


def _said(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _python_needs(packages):
    found, wanted = set(), set(packages)
    while fresh := wanted - found:
        found |= fresh
        depends = _said("dpkg-query", "-W", "-f", "${Depends},${Pre-Depends},", *sorted(fresh))
        named = set(re.findall(r"\b((?:lib)?python3[\w.+-]*)", depends))
        known = _said("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n").splitlines()
        wanted |= named & {line.split()[0] for line in known if " ii" in line}
    return sorted(found)


def files(packages):
    """Name in the image -> file here."""
    found = {}
    for line in _said("dpkg-query", "-L", *packages).splitlines():
        path = pathlib.Path(line)
        if not path.is_absolute() or UNWANTED.search(line):
            continue
        if path.is_symlink() or path.is_file():
            found[_real_name(path)] = path
            compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc"
            if path.suffix == ".py" and compiled.exists():
                found[_real_name(compiled)] = compiled
    return found


def _real_name(path):
    """/bin and /lib are links into /usr."""
    return str(path.parent.resolve() / path.name).lstrip("/")


def _add_libraries(found):
    elf = []
    for path in found.values():
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    elf.append(str(path))
    done = subprocess.run(["ldd", *elf], check=False, capture_output=True, text=True).stdout
    names = set(re.findall(r"(/\S+\.so\S*) \(0x", done)) | {"/lib/x86_64-linux-gnu/libnss_files.so.2",
                                                           "/lib/x86_64-linux-gnu/libnss_dns.so.2"}
    for name in names:
        path = pathlib.Path(name)
        while path.exists():
            found[_real_name(path)] = path
            if not path.is_symlink():
                break
            path = path.parent / path.readlink()


def _linked(found):
    """Links stay links, as far as what they lead to is there."""
    return {name: f"-> {path.readlink()}" if path.is_symlink() else path for name, path in found.items()}


def bootable(found):
    """A file system of these files, with the libraries that they need and what every program expects."""
    _add_libraries(found)
    entries = _linked(found)
    for folder in ("bin", "sbin", "lib", "lib64"):
        entries[folder] = f"-> usr/{folder}"
    entries |= {f"etc/{name}": (text.encode(), 0o644) for name, text in ETC.items()}
    entries |= {"tmp/": None, "var/tmp/": None, "run/": None, "proc/.keep": (b"", 0o644), "root/.keep": (b"", 0o600)}
    return entries


def tree(folder, at):
    """Its folders may be written to: tests leave their reports where they run."""
    files = [path for path in folder.rglob("*")
             if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".xml"]
    folders = {f"{at}/{path.parent.relative_to(folder)}".removesuffix("/.") + "/": None for path in files}
    return {**folders, **{f"{at}/{path.relative_to(folder)}": path for path in files}}


def _write(folder):
    made = images.Layout(folder)
    base = made.layer(bootable(files(_python_needs(PACKAGES))))

    def image(name, layers, workdir):
        made.image(f"{layout.REGISTRY}/{name}:{layout.TAG}", [base, *layers], {
            "User": f"{USER}:{USER}", "WorkingDir": workdir,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]})

    image("mayfly/base", [], "/")
    for sample in ("shop", "hello"):
        layer = made.layer(tree(ENVSPECS / sample, sample))
        for spec in sorted((ENVSPECS / sample).rglob("service.yml")):
            image(f"{sample}/{spec.parent.name}", [layer], f"/{sample}/{spec.parent.relative_to(ENVSPECS / sample)}")
        image(f"{sample}/tests", [layer], f"/{sample}")
    musl = next(pathlib.Path("/usr/lib").glob("*-linux-musl/musl-gcc.specs"))
    program = images.compiled(WORKLOAD.read_text(), "-O2", f"-specs={musl}")  # glibc's static ones resolve no names.
    image("w21/workload", [made.layer({"w21/workload": (program, 0o755)})], "/w21")
    image("mayfly/workload", [made.layer({"work/": None, "work/mayfly-workload": (program, 0o755),
                                          "work/plain.txt": (b"no program\n", 0o644)})], "/work")
    made.close()


def make():
    """The folder of the layout with all of them; made where it is not there yet."""
    mine = layout.digest(pathlib.Path(__file__), layout.HERE / "images.py", layout.HERE / "layout.py", WORKLOAD,
                         ENVSPECS / "shop", ENVSPECS / "hello")
    kept = layout.CACHE / f"samples-{mine}"
    if not kept.exists():
        print("making the images of the samples", flush=True)
        with tempfile.TemporaryDirectory(dir=layout.CACHE) as work:
            _write(pathlib.Path(work) / "layout")
            for old in layout.CACHE.glob("samples-*"):  # Hundreds of megabytes each.
                if old.stat().st_mtime < time.time() - 86400:
                    shutil.rmtree(old)
            (pathlib.Path(work) / "layout").rename(kept)
    return kept
