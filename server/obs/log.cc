#include "server/obs/log.h"

#include <errno.h>
#include <unistd.h>

#include <atomic>

#include "absl/strings/str_format.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

// Longer values are cut: a log is not the place for a whole specification.
constexpr size_t kMaxValue = 4096;

std::atomic<LogFormat> g_format{LogFormat::kLogfmt};
std::atomic<LogLevel> g_level{LogLevel::kInfo};
std::atomic<int> g_fd{2};
std::atomic<bool> g_journal{false};

absl::string_view LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

absl::string_view JournalPrefix(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "<7>";
    case LogLevel::kInfo:
      return "<6>";
    case LogLevel::kWarning:
      return "<4>";
    case LogLevel::kError:
      return "<3>";
  }
  return "<3>";
}

std::string Cut(absl::string_view value) {
  if (value.size() <= kMaxValue) return std::string(value);
  return absl::StrCat(value.substr(0, kMaxValue), "... (", value.size(), " bytes)");
}

// EscapeLine has made control characters and broken UTF-8 harmless, so that only the quote and the backslash are left.
std::string Quoted(absl::string_view value) {
  std::string out = "\"";
  for (const char c : EscapeLine(Cut(value))) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) return true;
  for (const unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7f) return true;
  }
  return false;
}

std::string LogfmtValue(absl::string_view value) {
  return NeedsQuotes(value) ? Quoted(value) : Cut(value);
}

}  // namespace

void ConfigureLog(const LogOptions& options) {
  g_format = options.format;
  g_level = options.level;
  g_fd = options.fd;
  g_journal = options.journal_prefix;
}

std::string FormatLogRecord(LogFormat format, LogLevel level, absl::Time time, absl::string_view message,
                            LogFields fields) {
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
  std::string out;
  if (format == LogFormat::kJson) {
    absl::StrAppend(&out, "{\"time\":\"", stamp, "\",\"level\":\"", LevelName(level), "\",\"msg\":", Quoted(message));
    for (const LogField& field : fields) absl::StrAppend(&out, ",\"", field.key, "\":", Quoted(field.value));
    return out + "}";
  }
  absl::StrAppend(&out, "time=", stamp, " level=", LevelName(level), " msg=", LogfmtValue(message));
  for (const LogField& field : fields) absl::StrAppend(&out, " ", field.key, "=", LogfmtValue(field.value));
  return out;
}

void Log(LogLevel level, absl::string_view message, LogFields fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  std::string line = g_journal.load(std::memory_order_relaxed) ? std::string(JournalPrefix(level)) : std::string();
  line += FormatLogRecord(g_format.load(std::memory_order_relaxed), level, absl::Now(), message, fields);
  line += '\n';
  const int saved_errno = errno;
  // A log that cannot be written must not stop the server, and there is nobody to tell.
  [[maybe_unused]] const ssize_t written = write(g_fd.load(std::memory_order_relaxed), line.data(), line.size());
  errno = saved_errno;
}

}  // namespace mayfly
