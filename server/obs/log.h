// The server's own log: one line per record, a constant message and key/value fields, safe against what the values
// hold.
//
//   LogInfo("environment accepted", {{"environment", name}, {"owner", owner}});
//
// logfmt:  time=2026-11-21T17:04:05.123Z level=info msg="environment accepted" environment=pr-7 owner=alice
// json:    {"time":"...","level":"info","msg":"environment accepted","environment":"pr-7","owner":"alice"}
//
// Thread-safe; a record is one write(2), so that lines of several threads and processes do not mix. Secrets are never
// given to it.
#ifndef MAYFLY_SERVER_OBS_LOG_H_
#define MAYFLY_SERVER_OBS_LOG_H_

#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace mayfly {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kLogfmt, kJson };

struct LogOptions {
  LogFormat format = LogFormat::kLogfmt;
  LogLevel level = LogLevel::kInfo;  // Records below it are dropped.
  int fd = 2;                        // Not owned.
  // Under systemd: "<6>" and the like in front, so that the journal knows the level.
  bool journal_prefix = false;
};

// For the whole process; call before other threads log.
void ConfigureLog(const LogOptions& options);

struct LogField {
  template <typename T>
  LogField(absl::string_view k, const T& v) : key(k) {
    if constexpr (std::is_same_v<T, absl::Status>) {
      value = v.ToString();
    } else if constexpr (std::is_same_v<T, absl::Duration>) {
      value = absl::FormatDuration(v);
    } else if constexpr (std::is_same_v<T, bool>) {
      value = v ? "true" : "false";
    } else {
      value = absl::StrCat(v);
    }
  }
  absl::string_view key;  // A constant: [a-z_]+.
  std::string value;      // Anything.
};
using LogFields = std::initializer_list<LogField>;

void Log(LogLevel level, absl::string_view message, LogFields fields = {});
inline void LogDebug(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kDebug, message, fields);
}
inline void LogInfo(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kInfo, message, fields);
}
inline void LogWarning(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kWarning, message, fields);
}
inline void LogError(absl::string_view message, LogFields fields = {}) {
  Log(LogLevel::kError, message, fields);
}

// One record without its line end; what Log writes. For tests.
std::string FormatLogRecord(LogFormat format, LogLevel level, absl::Time time, absl::string_view message,
                            LogFields fields);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_OBS_LOG_H_
