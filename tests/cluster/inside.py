#!/usr/bin/python3
"""inside.py PROGRAM ARGS...: runs a test program in the cluster's network, with KUBECONFIG; 77 where there is no cluster."""
import os
import sys

import cluster
import layout
import supervise

if why := cluster.why_not() or (None if supervise.first_process() else "no cluster runs; ./dev cluster up"):
    print(f"no cluster to test on: {why}")
    sys.exit(1 if os.environ.get("MAYFLY_CLUSTER_REQUIRED") == "1" else 77)
os.environ["KUBECONFIG"] = str(layout.KUBECONFIG)
# Who came this far has a cluster: that it cannot be reached is a failure.
os.environ["MAYFLY_CLUSTER_REQUIRED"] = "1"
sys.exit(cluster.inside([os.path.abspath(sys.argv[1]), *sys.argv[2:]]).returncode)
