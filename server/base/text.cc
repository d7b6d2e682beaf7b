#include "mayfly/base/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace mayfly {
namespace {

// Length of the well-formed UTF-8 sequence at the front of `s`, 0 when there is none (RFC 3629); its code point in
// `out`.
size_t DecodeUtf8(absl::string_view s, uint32_t& out) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) {
    out = lead;
    return 1;
  }
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < length) return 0;
  out = lead & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    out = out << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<uint32_t, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  const bool valid = out >= kSmallest[length] && out <= 0x10FFFF && (out < 0xD800 || out > 0xDFFF);
  return valid ? length : 0;
}

bool IsUnsafe(uint32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF;
}

struct Unit {
  absl::string_view suffix;
  double factor;
};

// Splits "12.5Mi" into its number and what follows; false without a leading digit.
bool SplitNumber(absl::string_view& text, double& number) {
  size_t end = 0;
  while (end < text.size() && (absl::ascii_isdigit(text[end]) || text[end] == '.')) ++end;
  if (end == 0 || !absl::ascii_isdigit(text[0]) || !absl::SimpleAtod(text.substr(0, end), &number)) return false;
  text.remove_prefix(end);
  return true;
}

int EditDistance(absl::string_view a, absl::string_view b) {
  // Two rows and a transposition row: optimal string alignment, so that "prot" is one step from "port".
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = static_cast<int>(i);
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = static_cast<int>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string EscapeLine(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    uint32_t c = 0;
    const size_t length = DecodeUtf8(text, c);
    if (length == 0) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (!IsUnsafe(c)) {
      out.append(text.data(), length);
    } else if (c < 0x80) {
      absl::StrAppendFormat(&out, "\\x%02x", c);
    } else {
      absl::StrAppendFormat(&out, "\\u{%04x}", c);
    }
    text.remove_prefix(length);
  }
  return out;
}

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", EscapeLine(text), "' is not a duration", why, ": write 90s, 5m, 2h or 14d"));
  };
  static constexpr Unit kUnits[] = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
  absl::string_view rest = text;
  if (rest.empty()) return bad("");
  double seconds = 0;
  while (!rest.empty()) {
    double number = 0;
    if (!SplitNumber(rest, number)) return bad("");
    size_t end = 0;
    while (end < rest.size() && absl::ascii_isalpha(rest[end])) ++end;
    if (end == 0) return bad(" (it has no unit)");
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                   [&](const Unit& u) { return u.suffix == rest.substr(0, end); });
    if (unit == std::end(kUnits)) return bad(absl::StrCat(" (unknown unit '", rest.substr(0, end), "')"));
    seconds += number * unit->factor;
    rest.remove_prefix(end);
  }
  if (seconds > 10 * 366 * 86400.0) return bad(" (over ten years)");
  return absl::Milliseconds(std::llround(seconds * 1000));
}

std::string FormatDuration(absl::Duration duration) {
  int64_t ms = absl::ToInt64Milliseconds(duration);
  if (ms <= 0) return "0s";
  std::string out;
  const auto take = [&](int64_t unit, absl::string_view suffix) {
    if (ms >= unit) absl::StrAppend(&out, ms / unit, suffix);
    ms %= unit;
  };
  take(86400000, "d");
  take(3600000, "h");
  take(60000, "m");
  take(1000, "s");
  take(1, "ms");
  return out;
}

std::string HumanDuration(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds < 0.0095) return absl::StrFormat("%.1f ms", seconds * 1000);
  if (seconds < 0.9995) return absl::StrFormat("%.0f ms", seconds * 1000);
  if (seconds < 59.95) return absl::StrFormat("%.2f s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 3600) return absl::StrFormat("%d m %02d s", whole / 60, whole % 60);
  if (whole < 86400) return absl::StrFormat("%d h %02d m", whole / 3600, whole / 60 % 60);
  return absl::StrFormat("%d d %02d h", whole / 86400, whole / 3600 % 24);
}

absl::StatusOr<int64_t> ParseSize(absl::string_view text) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", EscapeLine(text), "' is not a size", why, ": write 64Ki, 128Mi or 2Gi"));
  };
  static constexpr Unit kUnits[] = {{"Ki", 1024.0}, {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0},
                                    {"k", 1e3},     {"M", 1e6},        {"G", 1e9},           {"T", 1e12},
                                    {"B", 1}};
  absl::string_view rest = text;
  double number = 0;
  if (!SplitNumber(rest, number)) return bad("");
  if (rest.empty()) return bad(" (it has no unit)");
  const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.suffix == rest; });
  if (unit == std::end(kUnits)) return bad(absl::StrCat(" (unknown unit '", EscapeLine(rest), "')"));
  const double bytes = number * unit->factor;
  if (bytes > static_cast<double>(int64_t{1} << 60)) return bad(" (over 1 EiB)");
  return std::llround(bytes);
}

std::string FormatSize(int64_t bytes) {
  constexpr std::array<absl::string_view, 4> kSuffix = {"Ki", "Mi", "Gi", "Ti"};
  if (bytes <= 0 || bytes % 1024 != 0) return absl::StrCat(bytes, "B");
  int unit = -1;
  while (bytes % 1024 == 0 && unit + 1 < static_cast<int>(kSuffix.size())) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, kSuffix[unit]);
}

std::string HumanSize(int64_t bytes) {
  constexpr std::array<absl::string_view, 5> kSuffix = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kSuffix.size()) {
    value /= 1024;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  return absl::StrFormat("%.1f %s", value, std::string(kSuffix[unit]));
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  const int limit = std::max<int>(1, static_cast<int>(word.size()) / 3);
  int best = limit + 1;
  std::string found;
  for (const std::string& candidate : candidates) {
    const int distance = EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      found = candidate;
    }
  }
  return found;
}

absl::Status CheckName(absl::string_view name, size_t max_length) {
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(name.substr(0, 80)), "' is not a name: ", why));
  };
  if (name.empty()) return absl::InvalidArgumentError("a name must not be empty");
  if (name.size() > max_length) return bad(absl::StrCat("at most ", max_length, " characters, it has ", name.size()));
  for (const char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-')
      return bad("only a-z, 0-9 and '-' may be in it");
  }
  if (name.front() == '-' || name.back() == '-') return bad("it must not begin or end with '-'");
  return absl::OkStatus();
}

}  // namespace mayfly
