// Small text helpers shared by every folder: escaping of untrusted text, units, and did-you-mean.
#ifndef MAYFLY_BASE_TEXT_H_
#define MAYFLY_BASE_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

// Makes untrusted text safe for a terminal or a one-line log: C0 and C1 control characters, ESC, DEL, invalid UTF-8 and
// bidirectional overrides become \n, \t, \xNN or \u{NNNN}. Printable text is unchanged.
std::string EscapeLine(absl::string_view text);

// "90s", "5m", "2h", "14d", "1h30m", "250ms". A bare number, a negative value, "inf" and anything over ten years are
// INVALID_ARGUMENT with a sentence that says what to write.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);
// The shortest form that ParseDuration reads back, rounded to milliseconds: "1.5s" is "1s500ms".
std::string FormatDuration(absl::Duration duration);
// For people: "840 ms", "1.13 s", "2 m 05 s".
std::string HumanDuration(absl::Duration duration);

// "64Ki", "128Mi", "2Gi", "1Ti" and "500k", "128M", "2G" (powers of 1000); bytes in return. A bare number is
// INVALID_ARGUMENT.
absl::StatusOr<int64_t> ParseSize(absl::string_view text);
// The largest binary unit that divides exactly, else bytes with "B": "128Mi".
std::string FormatSize(int64_t bytes);
// For people: "12.4 MiB".
std::string HumanSize(int64_t bytes);

// The candidate nearest to `word` by edit distance, when near enough to be meant (at most a third of its length, at
// least 1); "" otherwise. Ties go to the first in order.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

// A DNS label: [a-z0-9]([a-z0-9-]*[a-z0-9])?, 1 to `max_length` characters. INVALID_ARGUMENT says which rule broke.
absl::Status CheckName(absl::string_view name, size_t max_length = 40);

}  // namespace mayfly

#endif  // MAYFLY_BASE_TEXT_H_
