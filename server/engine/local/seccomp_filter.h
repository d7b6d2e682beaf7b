// The system call filter of every service: what an unprivileged process without namespaces, devices and modules never
// needs, and what kernel exploits begin with, is refused.
#ifndef MAYFLY_SERVER_ENGINE_LOCAL_SECCOMP_FILTER_H_
#define MAYFLY_SERVER_ENGINE_LOCAL_SECCOMP_FILTER_H_

#include <linux/filter.h>

#include <vector>

#include "absl/status/statusor.h"

namespace mayfly::local {

// Compiled once; the program is then inherited by every fork and loaded just before exec. UNIMPLEMENTED when the kernel
// has no filters.
absl::StatusOr<std::vector<sock_filter>> CompileSeccompFilter();

}  // namespace mayfly::local

#endif  // MAYFLY_SERVER_ENGINE_LOCAL_SECCOMP_FILTER_H_
