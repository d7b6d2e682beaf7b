#include "client/cli/outcome.h"

#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/ci_labels.h"
#include "client/cli/output.h"
#include "client/lib/convert.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr int kSecondInterruptMilliseconds = 2000;

// Says how to go on with an environment that is left to the server.
void TellDetached(Session& session, const std::string& name, absl::string_view why) {
  const std::string safe = EscapeLine(name);
  session.console().Error(absl::StrCat(why, ": ", safe, " goes on in the server"));
  session.console().Error(absl::StrCat("  follow it again: mayfly watch ", safe));
  session.console().Error(absl::StrCat("  remove it:       mayfly down ", safe));
}

// A path of a kept file is the server's word: it must stay below the folder it is written to.
bool StaysBelow(const std::string& path) {
  if (path.empty() || path.front() == '/' || absl::StrContains(path, absl::string_view("\0", 1))) return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return false;
  }
  return true;
}

v1::GetReportRequest ReportOf(const Session& session, const std::string& name) {
  v1::GetReportRequest request;
  request.set_name(name);
  request.set_uid(session.options().uid);
  return request;
}

absl::StatusOr<std::string> FetchReport(const Session& session, ProvisionerClient& client, const std::string& name,
                                        v1::GetReportRequest::Format format) {
  v1::GetReportRequest request = ReportOf(session, name);
  request.set_format(format);
  MAYFLY_ASSIGN_OR_RETURN(const v1::GetReportResponse response, client.GetReport(request));
  return response.content();
}

std::string EscapeLines(absl::string_view text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (std::string& line : lines) line = EscapeLine(line);
  return absl::StrJoin(lines, "\n");
}

// The report begins with its verdict.
std::string WithVerdictPainted(const Look& look, const std::string& report) {
  const std::string verdict = report.substr(0, report.find_first_of(" \n"));
  const Style style = verdict == "PASSED"                         ? Style::kGreen
                      : verdict == "FAILED" || verdict == "ERROR" ? Style::kRed
                      : verdict == "CANCELLED"                    ? Style::kYellow
                                                                  : Style::kPlain;
  return absl::StrCat(Paint(look, style, verdict), report.substr(verdict.size()));
}

std::string Remaining(absl::Time until) {
  const absl::Duration left = until - absl::Now();
  return left > absl::ZeroDuration() ? HumanDuration(left) : "now";
}

std::vector<std::vector<std::string>> EndpointRows(const v1::Environment& environment) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Node& node : environment.nodes()) {
    for (const v1::Endpoint& endpoint : node.endpoints()) {
      rows.push_back({EscapeLine(node.name()), absl::StrCat(endpoint.port()),
                      EscapeLine(endpoint.url().empty() ? endpoint.address() : endpoint.url())});
    }
  }
  return rows;
}

std::string NodeStory(const v1::Node& node) {
  if (node.has_cause() && !node.cause().code().empty()) {
    Cause cause = CauseOf(node.cause());
    if (cause.node == node.name()) cause.node.clear();
    return FormatCause(cause);
  }
  std::vector<std::string> urls;
  for (const v1::Endpoint& endpoint : node.endpoints()) {
    urls.push_back(EscapeLine(endpoint.url().empty() ? endpoint.address() : endpoint.url()));
  }
  return urls.empty() ? EscapeLine(node.message()) : absl::StrJoin(urls, " ");
}

std::string EnvironmentTable(const v1::Environment& environment, const Look& look) {
  std::string out =
      absl::StrCat(EscapeLine(environment.name()), "  ", v1::Environment::State_Name(environment.state()));
  if (environment.verdict() != v1::VERDICT_UNSPECIFIED) absl::StrAppend(&out, "  ", VerdictWord(environment.verdict()));
  if (!environment.engine().empty()) absl::StrAppend(&out, "  engine ", EscapeLine(environment.engine()));
  if (environment.has_expire_time() && environment.state() != v1::Environment::DELETED) {
    absl::StrAppend(&out, "  expires in ", Remaining(ToTime(environment.expire_time())));
  }
  out += '\n';
  if (!environment.ending().empty()) {
    absl::StrAppend(&out, EscapeLine(environment.ending()), " is still ending\n");
    for (const std::string& holder : environment.held_by()) absl::StrAppend(&out, "  held: ", EscapeLine(holder), "\n");
  }
  if (!environment.labels().empty()) {
    const std::map<std::string, std::string> sorted(environment.labels().begin(), environment.labels().end());
    absl::StrAppend(&out, "labels ", EscapeLine(absl::StrJoin(sorted, "  ", absl::PairFormatter("="))), "\n");
  }
  if (const Cause cause = CauseOf(environment.cause()); !cause.empty()) absl::StrAppend(&out, FormatCause(cause), "\n");
  std::vector<std::vector<std::string>> rows = {{"NODE", "KIND", "STATE", "START", "ABOUT"}};
  for (const v1::Node& node : environment.nodes()) {
    rows.push_back({EscapeLine(node.name()), KindWord(node.kind()), v1::Node::State_Name(node.state()),
                    node.has_start_time() ? HumanDuration(ToDuration(node.start_time())) : "", NodeStory(node)});
  }
  if (rows.size() > 1) absl::StrAppend(&out, RenderTable(rows, look));
  return out;
}

}  // namespace

absl::StatusOr<v1::CreateEnvironmentRequest> CreateRequestFor(Session& session) {
  const Options& options = session.options();
  v1::CreateEnvironmentRequest request;
  if (options.replay.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(*request.mutable_source(), session.Source());
  } else {
    request.set_replay(options.replay);
  }
  request.set_environment_id(options.name);
  request.set_engine(options.engine);
  request.set_profile(options.profile);
  if (options.ttl.has_value()) *request.mutable_ttl() = ToProto(*options.ttl);
  for (const std::string& service : options.words) request.add_services(service);
  for (const std::string& test : options.tests) request.add_tests(test);
  request.mutable_variables()->insert(options.variables.begin(), options.variables.end());
  request.mutable_secrets()->insert(options.secrets.begin(), options.secrets.end());
  // What was said wins over what the surrounding CI tells.
  request.mutable_labels()->insert(options.labels.begin(), options.labels.end());
  const KeyValues ci = LabelsOfCi([](const char* name) { return getenv(name); });
  request.mutable_labels()->insert(ci.begin(), ci.end());
  return request;
}

absl::Time DeadlineFor(const Options& options) {
  return options.timeout.has_value() ? absl::Now() + *options.timeout : absl::InfiniteFuture();
}

ExitCode TakeDown(Session& session, ProvisionerClient& client, const std::string& name, const std::string& uid,
                  bool graceful) {
  v1::DeleteEnvironmentRequest request;
  request.set_name(name);
  request.set_uid(uid);
  request.set_graceful(graceful);
  const absl::Time began = absl::Now();
  const auto deleted = client.DeleteEnvironment(request);
  if (!deleted.ok()) return session.Fail(deleted.status());
  FollowRequest follow;
  follow.name = name;
  follow.uid = deleted->uid();
  // What came before is not news, and only what comes from now on can end the wait.
  follow.told_until = deleted->last_sequence();
  follow.deadline = DeadlineFor(session.options());
  const bool wait_gone = session.options().wait_gone;
  follow.until_gone = wait_gone;
  if (wait_gone) {
    for (const std::string& holder : deleted->held_by()) session.console().Note("held: " + EscapeLine(holder));
  }
  follow.done = [wait_gone](const Progress& progress) {
    if (progress.has_receipt() && !progress.receipt().blockers().empty()) return true;
    if (progress.state() != v1::Environment::DELETED) return false;
    return !wait_gone || progress.gone() || progress.receipt().ending().empty();
  };
  const FollowResult result = Follow(session, client, follow);
  if (result.end == FollowEnd::kError) return session.Fail(result.status);
  if (result.end != FollowEnd::kDone) {
    session.console().Error(absl::StrCat("the teardown of ", EscapeLine(name), " goes on in the server: mayfly watch ",
                                         EscapeLine(name), " follows it"));
    if (session.interrupts() != nullptr) session.interrupts()->Take();
    return result.end == FollowEnd::kTimeout ? kExitTimeout : kExitInterrupted;
  }
  const v1::Receipt& receipt = result.progress.receipt();
  if (!receipt.blockers().empty()) {
    session.console().Error(
        absl::StrCat("error: ", EscapeLine(name), ": TEARDOWN_BLOCKED: ", DescribeReceipt(receipt)));
    return kExitEnvironment;
  }
  const std::string removed = result.progress.has_receipt() ? ": " + DescribeReceipt(receipt) : "";
  if (receipt.ending().empty()) {
    session.console().Note(absl::StrCat(EscapeLine(name), " is gone", removed));
  } else if (result.progress.gone()) {
    session.console().Note(absl::StrCat(EscapeLine(name), " is gone", removed, "; ", EscapeLine(receipt.ending()),
                                        " is gone after ", HumanDuration(absl::Now() - began)));
  } else {
    session.console().Note(absl::StrCat(EscapeLine(name), " is down", removed, "; ", EscapeLine(receipt.ending()),
                                        " is still ending: mayfly report --name ", EscapeLine(name),
                                        " tells when it is gone"));
  }
  return kExitOk;
}

ExitCode EndEarly(Session& session, ProvisionerClient& client, const FollowRequest& followed,
                  const FollowResult& result, Undo undo) {
  Console& console = session.console();
  if (result.end == FollowEnd::kError) return session.Fail(result.status);
  const OnInterrupt policy = session.options().on_interrupt;
  if (result.end == FollowEnd::kTimeout) {
    const std::string passed =
        absl::StrCat("--timeout ", mayfly::FormatDuration(*session.options().timeout), " passed");
    if (!undo.on_timeout || policy == OnInterrupt::kKeep) {
      TellDetached(session, followed.name, passed);
    } else {
      console.Error(absl::StrCat("error: ", passed, " (", CountNodes(result.progress), "): taking ",
                                 EscapeLine(followed.name), " down"));
      TakeDown(session, client, followed.name, followed.uid, false);
    }
    return kExitTimeout;
  }
  session.interrupts()->Take();
  bool down =
      policy == OnInterrupt::kDown || (policy == OnInterrupt::kDefault && undo.removes && !console.interactive());
  if (!down) {
    TellDetached(session, followed.name, "detached");
    if (console.interactive() && undo.removes && policy == OnInterrupt::kDefault) {
      console.Error("  Ctrl-C again within two seconds aborts it now");
      down = session.interrupts()->WaitFor(kSecondInterruptMilliseconds) != 0;
    }
  }
  if (down) {
    console.Error(absl::StrCat("interrupted: taking ", EscapeLine(followed.name), " down"));
    TakeDown(session, client, followed.name, followed.uid, false);
  }
  return kExitInterrupted;
}

void TellFailure(Session& session, const v1::Cause& cause, const std::string& environment) {
  for (const std::string& line : DescribeFailure(cause, environment, session.console().err())) {
    session.console().Error(line);
  }
}

absl::Status SaveReports(Session& session, ProvisionerClient& client, const std::string& name) {
  const Options& options = session.options();
  if (!options.junit.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(const std::string junit, FetchReport(session, client, name, v1::GetReportRequest::JUNIT));
    MAYFLY_RETURN_IF_ERROR(WriteFile(options.junit, junit));
  }
  if (options.report_dir.empty()) return absl::OkStatus();
  static constexpr std::pair<v1::GetReportRequest::Format, const char*> kFiles[] = {
      {v1::GetReportRequest::TEXT, "report.txt"},
      {v1::GetReportRequest::JUNIT, "junit.xml"},
      {v1::GetReportRequest::MARKDOWN, "report.md"}};
  for (const auto& [format, file] : kFiles) {
    MAYFLY_ASSIGN_OR_RETURN(const std::string content, FetchReport(session, client, name, format));
    MAYFLY_RETURN_IF_ERROR(WriteFile(absl::StrCat(options.report_dir, "/", file), content));
  }
  v1::GetReportRequest request = ReportOf(session, name);
  request.set_with_files(true);
  MAYFLY_ASSIGN_OR_RETURN(const v1::GetReportResponse response, client.GetReport(request));
  MAYFLY_RETURN_IF_ERROR(WriteFile(options.report_dir + "/report.json", response.content()));
  for (const v1::GetReportResponse::File& file : response.files()) {
    if (!StaysBelow(file.path())) {
      return absl::InternalError(absl::StrCat("the server named a file outside: ", file.path()));
    }
    MAYFLY_RETURN_IF_ERROR(WriteFile(absl::StrCat(options.report_dir, "/", file.path()), file.content()));
  }
  return absl::OkStatus();
}

ExitCode PrintEnvironment(Session& session, const v1::Environment& environment, bool brief) {
  Console& console = session.console();
  switch (session.options().format) {
    case Format::kJson:
      console.Out(ToJson(environment));
      return kExitOk;
    case Format::kYaml:
      console.Out(JsonToYaml(ToJson(environment)));
      return kExitOk;
    case Format::kName:
      console.Out(EscapeLine(environment.name()) + "\n");
      return kExitOk;
    case Format::kEnv:
      console.Out(RenderEnvFile(environment));
      return kExitOk;
    case Format::kTable:
      break;
    default:
      return Usage(session, absl::StrCat("-o ", FormatName(session.options().format), " is not for an environment"));
  }
  if (!brief) {
    console.Out(EnvironmentTable(environment, console.out()));
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = EndpointRows(environment);
  if (rows.empty()) return kExitOk;
  rows.insert(rows.begin(), {"SERVICE", "PORT", "URL"});
  console.Out(RenderTable(rows, console.out()));
  return kExitOk;
}

absl::Status PrintReport(Session& session, ProvisionerClient& client, const std::string& name) {
  Console& console = session.console();
  const Format format = session.options().format;
  v1::GetReportRequest::Format wanted = v1::GetReportRequest::JSON;
  if (format == Format::kTable) wanted = v1::GetReportRequest::TEXT;
  if (format == Format::kJunit) wanted = v1::GetReportRequest::JUNIT;
  if (format == Format::kMarkdown) wanted = v1::GetReportRequest::MARKDOWN;
  if (format == Format::kName) {
    console.Out(EscapeLine(name) + "\n");
    return absl::OkStatus();
  }
  MAYFLY_ASSIGN_OR_RETURN(const std::string content, FetchReport(session, client, name, wanted));
  if (format == Format::kTable) {
    console.Out(WithVerdictPainted(console.out(), EscapeLines(content)));
  } else if (format == Format::kYaml) {
    console.Out(JsonToYaml(content));
  } else {
    console.Out(content);
  }
  return absl::OkStatus();
}

ExitCode Usage(Session& session, absl::string_view message) {
  session.console().Error(absl::StrCat(Paint(session.console().err(), Style::kRed, "error:"), " ", message));
  return kExitUsage;
}

}  // namespace mayfly
