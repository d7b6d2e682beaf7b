#include "server/report/summary.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"
#include "server/report/node_track.h"

namespace mayfly {
namespace {

std::string Plural(int64_t count, absl::string_view noun) {
  if (count == 1) return absl::StrCat("1 ", noun);
  return absl::StrCat(count, " ", noun, noun == "process" ? "es" : "s");
}

std::string Achieved(const Report& report) {
  std::vector<std::string> parts;
  int passed = 0;
  int forgiven = 0;
  int tests = 0;
  int denied = 0;  // Failures in the JUnit of jobs that ended as if there were none.
  for (const ReportTest& test : report.tests) {
    passed += test.state == NodeState::kSucceeded;
    forgiven += test.state == NodeState::kFailed && test.flaky;
    tests += std::max(0, test.tests);
    if (test.state == NodeState::kSucceeded) denied += std::max(0, test.failures) + std::max(0, test.errors);
  }
  if (!report.tests.empty()) {
    const int all = static_cast<int>(report.tests.size());
    parts.push_back(
        absl::StrCat(passed == all ? Plural(all, "test job") : absl::StrCat(passed, " of ", all, " test jobs"),
                     " passed", tests > 0 ? absl::StrCat(" (", Plural(tests, "test"), ")") : "",
                     denied > 0 ? absl::StrCat(", though JUnit counts ", Plural(denied, "failure")) : "",
                     forgiven > 0 ? absl::StrCat(", ", forgiven, " flaky failed") : ""));
  }
  if (Known(report.ready_after)) {
    parts.push_back(absl::StrCat("ready after ", HumanDuration(report.ready_after)));
  } else {
    const auto ready = std::count_if(report.services.begin(), report.services.end(), [](const ReportNode& node) {
      return node.state == NodeState::kReady || node.state == NodeState::kSucceeded;
    });
    parts.push_back(absl::StrCat(ready, " of ", Plural(report.services.size(), "service"), " ready"));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace

std::string Outcome(const Report& report) {
  return std::string(report.verdict == Verdict::kNone ? EnvironmentStateName(report.state)
                                                      : VerdictName(report.verdict));
}

std::string Headline(const Report& report) {
  const std::string name = report.environment.empty() ? "" : absl::StrCat(" ", EscapeLine(report.environment));
  const std::string what = report.cause.empty() ? Achieved(report) : FormatCause(report.cause);
  return absl::StrCat(Outcome(report), name, ": ", what);
}

std::string Advice(const Cause& cause) {
  if (cause.empty()) return "";
  return cause.hint.empty() ? std::string(InfoFor(cause.code).advice) : EscapeLine(cause.hint);
}

std::string DescribeTeardown(const Report& report) {
  const Receipt& r = report.teardown;
  if (!report.torn_down && r.blockers.empty()) {
    return report.state == EnvironmentState::kDeleting ? "under way" : "not yet";
  }
  std::vector<std::string> removed;
  const auto add = [&](int count, absl::string_view noun) {
    if (count > 0) removed.push_back(Plural(count, noun));
  };
  add(r.processes, "process");
  add(r.networks, "network");
  add(r.mounts, "mount");
  add(r.cgroups, "control group");
  add(r.ports, "port");
  const std::string list = removed.empty() ? "" : absl::StrCat(absl::StrJoin(removed, ", "), "; ");
  if (r.blockers.empty() && !r.ending.empty()) {
    const std::string place = EscapeLine(r.ending);
    const bool gone = Known(report.gone_after);
    return absl::StrCat("complete in ", HumanDuration(r.took), ": ", list, place,
                        gone ? absl::StrCat(" gone after ", HumanDuration(report.gone_after), "; nothing is left")
                             : absl::StrCat(" is still ending", report.held.empty() ? "" : ", held by"));
  }
  if (r.blockers.empty()) return absl::StrCat("complete in ", HumanDuration(r.took), ": ", list, "nothing is left");
  return absl::StrCat("NOT complete: ", list, Plural(r.blockers.size(), "thing"), " left");
}

std::string DescribeTime(const Report& report) {
  std::vector<std::string> parts;
  if (Known(report.ready_after)) parts.push_back(absl::StrCat("ready after ", HumanDuration(report.ready_after)));
  if (Known(report.verdict_after)) parts.push_back(absl::StrCat("verdict after ", HumanDuration(report.verdict_after)));
  if (parts.empty()) parts.push_back(absl::StrCat(HumanDuration(report.total), " so far"));
  parts.push_back(absl::StrFormat("%.1f %% explained by the critical chain", report.explained * 100));
  parts.push_back(absl::StrCat("overhead ", HumanDuration(report.overhead)));
  return absl::StrJoin(parts, ", ");
}

std::string DescribeChain(const Report& report) {
  return absl::StrJoin(report.critical_chain, ", ", [](std::string* out, const ChainLink& link) {
    const bool waited = link.phase == "wait" && !link.node.empty();
    absl::StrAppend(out, waited ? "wait of " : "", link.node.empty() ? link.phase : EscapeLine(link.node), " ",
                    HumanDuration(link.to - link.from));
  });
}

std::vector<std::string> DescribeSkipped(const Report& report) {
  std::vector<std::string> order;
  std::map<std::string, std::vector<std::string>> by_cause;
  const auto add = [&](NodeState state, const Cause& cause, const std::string& name) {
    if (state != NodeState::kSkipped) return;
    if (by_cause.count(cause.node) == 0) order.push_back(cause.node);
    by_cause[cause.node].push_back(EscapeLine(name));
  };
  for (const ReportNode& node : report.services) add(node.state, node.cause, node.name);
  for (const ReportTest& test : report.tests) add(test.state, test.cause, test.job);
  std::vector<std::string> out;
  for (const std::string& root : order) {
    out.push_back(
        absl::StrCat(root.empty() ? "environment" : EscapeLine(root), ": ", absl::StrJoin(by_cause[root], ", ")));
  }
  return out;
}

std::string DescribeCounts(const ReportTest& test) {
  if (test.tests < 0) return "";
  std::string out = Plural(test.tests, "test");
  const auto add = [&](int count, absl::string_view what) {
    if (count > 0) absl::StrAppend(&out, ", ", count, " ", what);
  };
  add(test.failures, "failed");
  add(test.errors, test.errors == 1 ? "error" : "errors");
  add(test.skipped, "skipped");
  return out;
}

std::string TimeOrDash(absl::Duration duration) {
  return Known(duration) ? HumanDuration(duration) : "-";
}

std::string CpuOrDash(const Usage& usage) {
  return usage.cpu < absl::ZeroDuration() ? "-" : HumanDuration(usage.cpu);
}

std::string MemoryOrDash(const Usage& usage) {
  return usage.peak_memory_bytes < 0 ? "-" : HumanSize(usage.peak_memory_bytes);
}

absl::Duration Took(const ReportTest& test) {
  const bool ended = test.state == NodeState::kSucceeded || test.state == NodeState::kFailed;
  return ended && test.tries > 0 ? test.took : kNotYet;
}

absl::Duration StartTime(const ReportNode& node) {
  return Known(node.started) && Known(node.ready) ? node.ready - node.started : kNotYet;
}

}  // namespace mayfly
