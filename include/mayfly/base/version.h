// Which mayfly this is; from the build.
#ifndef MAYFLY_BASE_VERSION_H_
#define MAYFLY_BASE_VERSION_H_

#include "absl/strings/string_view.h"

namespace mayfly {

absl::string_view Version();  // "0.1.0"
absl::string_view Commit();   // "ebe3dae1b2c3", with "+" behind it for a changed tree; "unknown" without git.

}  // namespace mayfly

#endif  // MAYFLY_BASE_VERSION_H_
