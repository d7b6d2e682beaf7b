// Making plots and shells: the children that the launcher forks for it. None of these functions waits for a child; what
// becomes of it arrives on the channel that is returned.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_PLOT_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_PLOT_H_

#include <linux/filter.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/engine/local/cgroup.h"
#include "server/engine/local/network.h"
#include "server/engine/local/rootfs.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

struct Plot {
  uint32_t host_id = 0;  // What id 1000 inside is outside.
  uint32_t host_group = 0;
  Networks networks;
  int slots = 0;
  std::string owner;  // Of the scope that used it last; empty: fresh.
  bool used = false;
};

// Maps one user and group of a new user namespace, whose first process is `pid`.
absl::Status WriteIdMaps(pid_t pid, uint32_t inside, uint32_t outside_user, uint32_t outside_group);

// In a mapped user namespace: takes the one id there is. Started by root, nothing may stay id 0 outside.
absl::Status BecomeInside();

struct Child {
  pid_t pid = 0;
  UniqueFd channel;
};

// A child that makes `slots` networks in a user namespace whose one id is plot.host_id outside. It sends frames of type
// kNetworkPart with the descriptors (user, hub, slots...) in order, or one of kNetworkError, and ends.
constexpr uint16_t kNetworkPart = 80;
constexpr uint16_t kNetworkError = 81;
absl::StatusOr<Child> StartNetworkMaker(const Plot& plot, int slots);

// The same for slots first to first+count-1 of a scope that lives, by its init: only descriptors of slots are sent.
absl::StatusOr<Child> StartMoreNetworksMaker(int first, int count);

struct ShellParts {
  int shims = 0;  // To start ahead; the slots beyond get theirs when they are needed.
  const CgroupHost* cgroups = nullptr;
  const RootPlan* root = nullptr;
  const std::vector<sock_filter>* filter = nullptr;
  int lock = -1;  // Of the launcher; held as long as control groups may be made.
  bool egress_to_host = false;
};

// A child that proves a used plot clean, makes the control groups named `group`, starts the init as a child of the
// launcher and ends. The channel brings InitBorn and InitWarm, and then belongs to the init. An exit code of
// kPlotUnclean says that the plot must be thrown away.
constexpr int kPlotUnclean = 3;
absl::StatusOr<Child> StartShell(const Plot& plot, const std::string& group, const ShellParts& parts);

// A detached mount of the folder `path`; with AT_RECURSIVE of what is mounted below it, too. The path has no symbolic
// link in it since the source was read: one that stands there now would lead where nobody has looked.
absl::StatusOr<UniqueFd> CloneSourceTree(const std::string& path, unsigned flags);

// The same, in which the folder's owner is shown as `host_id`; for root only. Without support for that
// in its file system: a plain one.
absl::StatusOr<UniqueFd> SourceMount(const std::string& path, uint32_t host_id);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_PLOT_H_
