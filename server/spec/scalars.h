// One scalar to one value, strictly. Errors are INVALID_ARGUMENT whose message is a sentence for the user; where there
// is something to write instead, it stands behind the last ": " as in mayfly/base/text.h.
#ifndef MAYFLY_SERVER_SPEC_SCALARS_H_
#define MAYFLY_SERVER_SPEC_SCALARS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/spec/yaml_value.h"

namespace mayfly {

absl::StatusOr<bool> ParseBool(absl::string_view text);
absl::StatusOr<int64_t> ParseInt(absl::string_view text);  // Decimal without leading zeros.
absl::StatusOr<double> ParseNumber(absl::string_view text);
absl::StatusOr<int> ParseMode(absl::string_view text);    // "0644"
absl::StatusOr<int> ParseSignal(absl::string_view text);  // "TERM" or "SIGTERM"
absl::Status CheckVariable(absl::string_view text);
absl::Status CheckHostPort(absl::string_view text);
absl::Status CheckRegex(absl::string_view text);
absl::Status CheckInnerPath(absl::string_view text);

// A plain scalar that some YAML readers take for something else than its text: yes/no/on/off, a leading zero, 0x.
// Empty when it is harmless; otherwise why.
std::string AmbiguousPlain(const YamlValue& scalar);

// A command line into words, by a shell's quoting rules and nothing else of a shell.
struct CommandWords {
  std::vector<std::string> words;
  std::string error;  // Empty when fine.
  std::string hint;
  std::string at;  // The part that is to blame, to place the caret.
};
CommandWords SplitCommand(absl::string_view text);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_SPEC_SCALARS_H_
