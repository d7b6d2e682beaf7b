// KEY=VALUE, from flags and files.
#ifndef MAYFLY_CLIENT_CLI_KEY_VALUES_H_
#define MAYFLY_CLIENT_CLI_KEY_VALUES_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly {

using KeyValues = std::map<std::string, std::string>;

// "A=b=c" sets A to "b=c". INVALID_ARGUMENT without a key or '='.
absl::Status InsertPair(absl::string_view pair, KeyValues& target);

// KEY=VALUE lines; blank ones and those with '#' in front count for nothing, "export " and quotes around a value
// neither. INVALID_ARGUMENT names file and line.
absl::Status InsertFile(const std::string& path, KeyValues& target);

// As InsertPair, or KEY alone: then the value is this process's variable of that name, so that a secret need not stand
// on the command line, where every process of the host can read it.
absl::Status InsertSecret(const std::string& text, KeyValues& target);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_KEY_VALUES_H_
