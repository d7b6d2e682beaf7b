// The file tree that a service sees: the host's root without write access and without anybody's home, and a tmpfs of
// its own for everything it writes.
//
// Three steps. The init prepares what all services of the environment share (PrepareShared). Each shim builds its tree
// ahead (Build): its tmpfs becomes the root of its mount namespace, with the service's tree in /root, and the host's
// tree is let go. When the node is known, Furnish adds the source folder and rendered files. Services are chrooted into
// /root; whoever got out of that would find an empty tmpfs.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_ROOTFS_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_ROOTFS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mayfly/spec/process.h"
#include "server/engine/local/sys.h"

namespace mayfly::local {

constexpr int kInsideId = 1000;                 // The one user and group inside.
constexpr char kSharedFolder[] = "/sys/share";  // In the init's mount namespace; shims see it as /share.
constexpr char kHostsFile[] = "/sys/share/hosts";

struct RootPlan {
  struct Folder {
    std::string name;  // Without the leading '/'.
    enum class Kind { kLink, kBind, kOverlay, kWritable, kEmpty } kind = Kind::kBind;
    std::string link;
  };
  std::vector<Folder> folders;      // Top-level entries of the host that are shown.
  std::vector<std::string> hidden;  // Covered by an empty folder where they would be visible: home, state folder.
};

// Reads the host's root. `hidden` are absolute paths.
RootPlan PlanRoot(const std::vector<std::string>& hidden);

// In the init, once, in a new mount namespace: a tmpfs over /sys for what is shared (user and host name files, the
// read-only folders of the host, source folders that arrive later). The host's mounts do not propagate back.
absl::Status PrepareShared(const RootPlan& plan);

// In the init: shows a source folder as <shared>/src<number> to all services' trees, from a detached mount or, for -1,
// from `path`. PERMISSION_DENIED and NOT_FOUND name the path.
absl::Status AttachSource(int number, const std::string& path, int detached_mount);

// In a shim, in a new mount and pid namespace. Afterwards the process's root is the tmpfs.
absl::Status BuildRoot(const RootPlan& plan);

// In a shim: limits, the source folder as private writable layer, working directory and files of `process`. `source` is
// the number of the shared source folder, -1 for none. May be called again for the node's next attempt; what the node
// wrote stays, except below the source folder with `wipe_source`.
absl::Status Furnish(const RootPlan& plan, const ProcessSpec& process, int source, bool wipe_source);

// True when the tmpfs has no room for anything more.
bool RootIsFull();

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_ROOTFS_H_
