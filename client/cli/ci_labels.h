// What the CI around this process says of the change that it builds.
#ifndef MAYFLY_CLIENT_CLI_CI_LABELS_H_
#define MAYFLY_CLIENT_CLI_CI_LABELS_H_

#include <functional>

#include "client/cli/key_values.h"

namespace mayfly {

// "pr", "commit" and "branch", as far as GitHub Actions or GitLab CI runs here and tells them by its variables; of a
// pull request the branch that it comes from. Names of branches are strangers' text: they come escaped and cut to what
// a label may hold. `variable` is getenv, or a test's.
KeyValues LabelsOfCi(const std::function<const char*(const char* name)>& variable);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_CI_LABELS_H_
