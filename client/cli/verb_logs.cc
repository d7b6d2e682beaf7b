#include <algorithm>

#include "absl/strings/str_cat.h"
#include "client/cli/outcome.h"
#include "client/cli/output.h"
#include "client/cli/verbs.h"
#include "client/lib/convert.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

class LogPrinter {
 public:
  LogPrinter(Session& session, bool with_names) : session_(session), with_names_(with_names) {
    // What a service wrote must not command a terminal or a CI's page, which a pipe may well lead to.
    escape_ = !session.options().raw;
  }

  void Print(const v1::StreamLogsResponse& batch) {
    if (session_.options().format == Format::kJson) {
      for (const v1::LogLine& line : batch.lines()) session_.console().Out(AsJson(line));
      return;
    }
    std::string out;
    for (const v1::LogLine& line : batch.lines()) {
      if (with_names_) {
        columns_ = std::max(columns_, Columns(EscapeLine(line.node())));
        const std::string name = PadColumns(EscapeLine(line.node()), columns_);
        absl::StrAppend(&out, Paint(session_.console().out(), line.stderr() ? Style::kYellow : Style::kDim, name),
                        "  ");
      }
      absl::StrAppend(&out, escape_ ? EscapeLine(line.text()) : line.text(), "\n");
    }
    session_.console().Out(out);
    if (batch.dropped_bytes() > 0) {
      session_.console().Error(absl::StrCat("(", HumanSize(batch.dropped_bytes()), " of older output were dropped)"));
    }
  }

 private:
  static std::string AsJson(const v1::LogLine& line) {
    // Text instead of base64: what is not UTF-8 is escaped.
    return absl::StrCat("{\"node\":", Quoted(EscapeLine(line.node())), ",\"time\":\"",
                        absl::FormatTime(ToTime(line.time()), absl::UTCTimeZone()), "\",\"stream\":\"",
                        line.stderr() ? "stderr" : "stdout", "\",\"text\":", Quoted(EscapeLine(line.text())), "}\n");
  }
  static std::string Quoted(absl::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  }

  Session& session_;
  const bool with_names_;
  bool escape_ = false;
  int columns_ = 8;
};

}  // namespace

ExitCode VerbLogs(Session& session) {
  const Options& options = session.options();
  const auto name = session.EnvironmentNameFromSpec();
  if (!name.ok()) return session.Fail(name.status());
  const auto client = session.Connect();
  if (!client.ok()) return session.Fail(client.status());
  v1::StreamLogsRequest request;
  request.set_name(*name);
  for (const std::string& service : options.words) request.add_services(service);
  request.set_follow(options.follow);
  request.set_tail_lines(options.tail);
  if (options.since.has_value()) *request.mutable_since() = ToProto(absl::Now() - *options.since);
  LogPrinter printer(session, options.words.size() != 1);
  Cancellation never;
  const absl::Status status = (*client)->StreamLogs(
      request,
      [&](const v1::StreamLogsResponse& batch) {
        printer.Print(batch);
        return true;
      },
      &never);
  return status.ok() ? kExitOk : session.Fail(status);
}

}  // namespace mayfly
