#!/usr/bin/python3
"""Kills mayflyd, its launcher or both at random instants of create, run and delete, and asks an independent witness.

    chaos.py --engine local|kubernetes --seeds 100 [--seed S] [--jobs J]

A seed creates up to three environments (some run their tests and end by themselves, some stay, some are deleted on the
way) and kills once while that happens: the server, which is started again, in a fifth of the seeds its launcher with it,
in another fifth the launcher alone, which the server is to start again; in a fifth of the seeds also while it recovers.
Callers repeat what was not answered, with the same request_id. Then it must hold, within 10 s of the last kill:
  - everything acknowledged is there, under the uid that was acknowledged, and nothing exists twice;
  - what was to end has ended with a verdict, what was deleted is DELETED, what was to stay is ACTIVE and really runs,
    each service once and with the process it had before if it was ready before;
  - once all are deleted and the server is stopped, nothing is left.
On Kubernetes, where only the server can be killed, some environments are changed in place and tested on the way, and the
witness asks the cluster; the limit is longer there.
"""
import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import api  # noqa: E402
import chaos_seed  # noqa: E402
import oracle  # noqa: E402
from world import require  # noqa: E402

NO_CLUSTER = 77


def run_seed(make, seed, folder, messages, keep_log):
    """In a process of its own, which becomes the parent of whatever the seed leaves behind. Returns the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    oracle.adopt_orphans()
    trial = make(seed, folder, messages)
    failure = trial.run()
    if failure:
        with open(keep_log, "w", encoding="utf-8") as file:
            file.write(failure)
    os._exit(1 if failure else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["local", "kubernetes"], default="local")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="at the same time")
    flags = parser.parse_args()
    require("mayflyd", "mayfly-workload")
    make = chaos_seed.Seed
    if flags.engine == "kubernetes":
        import chaos_kubernetes  # What it needs is not everywhere.
        make = chaos_kubernetes.KubernetesSeed
        if why := chaos_kubernetes.why_not():
            print(f"no cluster: {why}")
            return 1 if os.environ.get("MAYFLY_CLUSTER_REQUIRED") == "1" else NO_CLUSTER
    print(f"seeds {flags.seed} to {flags.seed + flags.seeds - 1}, {flags.jobs} at the same time", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oracle-chaos-"))
    folder.chmod(0o755)
    messages = api.load(folder)
    begin, running, failed = time.monotonic(), {}, {}
    seeds = list(range(flags.seed, flags.seed + flags.seeds))
    try:
        while seeds or running:
            while seeds and len(running) < flags.jobs:
                seed = seeds.pop(0)
                running[run_seed(make, seed, folder, messages, folder / f"{seed}.failure")] = seed
            pid, status = os.wait()
            seed = running.pop(pid)
            if status:
                file = folder / f"{seed}.failure"
                failed[seed] = file.read_text() if file.exists() else f"ended with status {status}"
                print(f"seed {seed} FAILED: {failed[seed]}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        print(f"failing seeds: {' '.join(map(str, sorted(failed)))}; repeat one with --seeds 1 --seed S")
    print(f"{flags.seeds - len(failed)} passed, {len(failed)} failed in {time.monotonic() - begin:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
