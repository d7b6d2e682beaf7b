// The first process of a service's own pid namespace: it waits ready-made for a node, runs the node's process with one
// exec, forwards the stop signal, reaps, and takes everything the node started with it when the node ends.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_SHIM_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_SHIM_H_

#include <linux/filter.h>

#include <vector>

#include "server/engine/local/cgroup.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct ShimConfig {
  UniqueFd channel;  // To the init.
  int network = -1;  // The slot's network namespace.
  const SlotCgroup* cgroup = nullptr;
  const RootPlan* root = nullptr;
  const std::vector<sock_filter>* filter = nullptr;
};

// Runs as a fresh child made with CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS; holds nothing of its parent
// but what `config` names. Never returns.
[[noreturn]] void RunShim(ShimConfig config);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_SHIM_H_
