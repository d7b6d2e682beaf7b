// Control groups where the host gives them: v1 hierarchies, v2, both mixed, or none. A slot's group limits one node;
// limits are changed and counters read through descriptors that were opened with the launcher's rights, so that an
// unprivileged init can use them.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_CGROUP_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_CGROUP_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "mayfly/engine/engine.h"
#include "mayfly/spec/process.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

// Where this installation's groups are made. A controller that is not in `folders` cannot be used here.
struct CgroupHost {
  enum class Mode { kNone, kV1, kV2 } mode = Mode::kNone;
  std::map<std::string, std::string> folders;  // "memory", "pids", "cpu", "cpuacct" -> folder of this installation.

  bool Has(const std::string& controller) const { return folders.count(controller) > 0; }
};

// Finds usable controllers and makes the installation's folders, named `name`, below the calling process's own groups.
// Never fails: what cannot be had is left out. With v2, moves the process (and `parent`) into a leaf when it must.
CgroupHost FindCgroups(const std::string& name, pid_t parent);

// The open files of one slot's group. Everything is optional.
struct SlotCgroup {
  std::vector<UniqueFd> procs;  // One per hierarchy. Writing "0" moves the writer.
  UniqueFd memory_max, memory_peak, memory_events, pids_max, pids_events, cpu_max, cpu_usage;
  bool v2 = false;
  int64_t cpu_base_ns = 0, oom_base = 0, pids_base = 0;  // Counters at the last Reset.

  std::vector<int> Fds() const;
  // Sets limits; zero means none. An error names the file.
  absl::Status Limit(const Resources& resources);
  void Reset();
  Usage Read() const;
  int64_t OomKills() const;      // Since Reset; 0 when the host does not tell.
  int64_t RefusedForks() const;  // Since Reset.
};

// Makes the groups of one slot, or takes those that are there already: then they must be empty (DATA_LOSS otherwise),
// and one that still pays for much memory of those before is made anew. `group` is unique on this installation.
absl::StatusOr<SlotCgroup> MakeSlotCgroup(const CgroupHost& host, const std::string& group, int slot);

// Whether groups are worth keeping for the next scope: making and removing directories of v1 takes milliseconds, and
// their counters can be set back.
bool KeepsCgroups(const CgroupHost& host);

// For groups that are kept: how many there are. UNAVAILABLE names one that has a process.
absl::StatusOr<int> CountEmptyCgroups(const CgroupHost& host, const std::string& group, int slots);

// Removes all of `group`'s folders, which must have no process left. The number of groups removed; UNAVAILABLE names
// one that is still busy.
absl::StatusOr<int> RemoveCgroups(const CgroupHost& host, const std::string& group);

// Removes the installation's own folders, unless groups of scopes that live on are in them.
void RemoveInstallation(const CgroupHost& host);

// Every group of this installation, alive or left over.
std::vector<std::string> ListCgroups(const CgroupHost& host);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_CGROUP_H_
