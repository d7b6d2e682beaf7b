// What this host can and cannot do for the local engine, tried and not guessed, and how to mend it: the lines of
// `mayfly doctor`.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_HOST_CHECKS_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_HOST_CHECKS_H_

#include <cstddef>

#include "mayfly/engine/capabilities.h"
#include "server/engine/local/cgroup.h"

namespace mayfly::local {

// Makes one set of namespaces with the mounts that services need, in a child that is gone afterwards, and looks at the
// rest. Blocks for some milliseconds. Not usable: a check has the result kMissing. For a single-threaded process.
Capabilities CheckHost(const CgroupHost& cgroups, bool root, size_t filter_size);

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_HOST_CHECKS_H_
