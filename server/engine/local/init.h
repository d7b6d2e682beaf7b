// The first process of an environment: it lives in the environment's hub network, keeps the shims of all services,
// starts and stops nodes, probes them, captures their output, and remembers what happened for a server that comes back.
// When it dies, everything of the environment dies.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_INIT_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_INIT_H_

#include <linux/filter.h>

#include <map>
#include <string>
#include <vector>

#include "server/engine/local/cgroup.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct InitConfig {
  UniqueFd launcher;                       // Channel to the launcher; its end ends an init that is not yet assigned.
  std::vector<UniqueFd> slots;             // Network namespaces.
  std::vector<SlotCgroup> cgroups;         // As many as slots.
  std::map<std::string, UniqueFd> groups;  // By controller: where the init may make groups of further slots.
  int shims = 0;                           // Slots that get a shim ahead.
  RootPlan root;
  const std::vector<sock_filter>* filter = nullptr;
  bool egress_to_host = false;  // `egress` may name the host's own loopback.
};

// Runs as pid 1 of its own pid, mount, ipc and uts namespaces, in the hub's network and with all capabilities of the
// environment's user namespace. Never returns.
[[noreturn]] void RunInit(InitConfig config);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_INIT_H_
