#!/usr/bin/python3
"""Writes the reference workload W21 and its variants as catalogues.

W21 is a made-up company of 21 services in tiers of 3, 6, 8 and 4. Service i of tier t takes base[t] + (37 i mod 120) ms
until it listens, with base = 300, 200, 150, 100, and needs prev[i mod n] and prev[(2 i + 1) mod n] of the n services
before it. Its critical path is 1,120 ms and the sum of all start times 4,784 ms.

    generate.py                                     rewrites the variants in this folder
    generate.py --out DIR --variant w21-0 --workload PROGRAM    one variant, with a copy of PROGRAM as its ./workload
"""
import argparse
import pathlib
import shutil

TIERS, BASE = (3, 6, 8, 4), (300, 200, 150, 100)
VARIANTS = {
    "w21": "each service sleeps, then listens",
    "w21-0": "every service listens at once: what is left is the cost of mayfly and the kernel",
    "w21-cpu": "each service computes instead of sleeping: the machine is the limit",
    "w21-slowterm": "five services ignore SIGTERM and must be killed after their grace of 1 s",
    "w21-fail": "one service never listens: what needs it is skipped",
}
DEAF = ("t2-0", "t2-1", "t2-2", "t2-5", "t2-7")  # None needs another: stopped in order, they are waited for together.
BROKEN = "t1-1"


def services():
    """(name, milliseconds, names of its needs), tier by tier."""
    found, before = [], []
    for tier, (count, base) in enumerate(zip(TIERS, BASE)):
        names = [f"t{tier}-{i}" for i in range(count)]
        for i, name in enumerate(names):
            needs = sorted({before[i % len(before)], before[(2 * i + 1) % len(before)]}) if before else []
            found.append((name, base + 37 * i % 120, needs))
        before = names
    return found


def critical_path(nodes):
    ready = {}
    for name, ms, needs in nodes:
        ready[name] = ms + max((ready[need] for need in needs), default=0)
    return max(ready.values())


def command(variant, name, ms):
    if variant == "w21-fail" and name == BROKEN:
        return "./workload"
    words = {"w21-0": "", "w21-cpu": f"spin {ms} "}.get(variant, f"sleep {ms} ")
    deaf = "ignore-term " if variant == "w21-slowterm" and name in DEAF else ""
    return f"./workload {deaf}{words}tcp 8080"


def envspec(variant, mark=None):
    lines = [f"# Written by generate.py: {VARIANTS[variant]}.", f"name: {variant}", "types:",
             "  w21: {image: \"w21/workload:1\", port: 8080, health: {tcp: true, within: %s}, stop: {grace: 1s}}"
             % ("2s" if variant == "w21-fail" else "60s"), "services:"]
    for name, ms, needs in services():
        lines += [f"  - name: {name}", "    type: w21", f"    run: {command(variant, name, ms)}"]
        lines += [f"    needs: [{', '.join(needs)}]"] if needs else []
        lines += [f"    env: {{W21: {mark}/{name}}}"] if mark else []
    return "\n".join(lines) + "\n"


def write(variant, folder, workload, mark=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "envspec.yml").write_text(envspec(variant, mark))
    shutil.copy(workload, folder / "workload")


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="folder to write to; default: a folder per variant beside this script")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="default: all")
    parser.add_argument("--workload", type=pathlib.Path, default=here / "workload.py", help="default: workload.py")
    flags = parser.parse_args()
    for variant in flags.variant or VARIANTS:
        write(variant, flags.out if flags.out and flags.variant else (flags.out or here) / variant, flags.workload)


if __name__ == "__main__":
    main()
