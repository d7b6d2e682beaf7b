#include "server/report/junit_writer.h"

#include <cmath>
#include <pugixml.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "mayfly/base/text.h"
#include "server/report/node_track.h"
#include "server/report/summary.h"

namespace mayfly {
namespace {

using Outcome = JunitCase::Outcome;

// XML 1.0 has no way to write most control characters; line breaks and tabs of traces stay.
std::string XmlText(absl::string_view text) {
  std::string out;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] != '\n' && text[i] != '\t') continue;
    absl::StrAppend(&out, EscapeLine(text.substr(start, i - start)));
    if (i < text.size()) out.push_back(text[i]);
    start = i + 1;
  }
  return out;
}

void SetText(pugi::xml_node node, absl::string_view text) {
  if (!text.empty()) node.append_child(pugi::node_pcdata).set_value(XmlText(text).c_str());
}

void SetAttribute(pugi::xml_node node, const char* name, absl::string_view value) {
  node.append_attribute(name).set_value(XmlText(value).c_str());
}

std::string Seconds(double seconds) {
  return absl::StrFormat("%.3f", seconds);
}

void WriteCase(pugi::xml_node suite, const JunitCase& test) {
  pugi::xml_node node = suite.append_child("testcase");
  SetAttribute(node, "classname", test.classname);
  SetAttribute(node, "name", test.name);
  if (!test.file.empty()) SetAttribute(node, "file", test.file);
  SetAttribute(node, "time", Seconds(test.seconds));
  const char* element = test.outcome == Outcome::kFailed    ? "failure"
                        : test.outcome == Outcome::kError   ? "error"
                        : test.outcome == Outcome::kSkipped ? "skipped"
                        : test.flaky                        ? "flakyFailure"
                                                            : nullptr;
  if (element != nullptr) {
    pugi::xml_node result = node.append_child(element);
    if (!test.message.empty()) SetAttribute(result, "message", test.message);
    if (!test.type.empty()) SetAttribute(result, "type", test.type);
    SetText(result, test.text);
  }
  if (!test.system_out.empty()) SetText(node.append_child("system-out"), test.system_out);
  if (!test.system_err.empty()) SetText(node.append_child("system-err"), test.system_err);
}

void WriteTotals(pugi::xml_node node, const JunitTotals& totals) {
  SetAttribute(node, "tests", absl::StrCat(totals.tests));
  SetAttribute(node, "failures", absl::StrCat(totals.failures));
  SetAttribute(node, "errors", absl::StrCat(totals.errors));
  SetAttribute(node, "skipped", absl::StrCat(totals.skipped));
  SetAttribute(node, "time", Seconds(totals.seconds));
}

JunitCase CaseFor(const std::string& classname, const std::string& name, absl::Duration took) {
  JunitCase test;
  test.classname = classname;
  test.name = name;
  test.seconds = took > absl::ZeroDuration() && took < absl::InfiniteDuration() ? absl::ToDoubleSeconds(took) : 0;
  return test;
}

void Blame(JunitCase& test, Outcome outcome, Cause cause) {
  test.outcome = outcome;
  if (cause.empty()) return;
  test.type = std::string(InfoFor(cause.code).name);
  if (cause.node == test.name) cause.node.clear();
  test.message = FormatCause(cause);
  test.text = absl::StrJoin(cause.evidence, "\n");
  const std::string advice = Advice(cause);
  if (!advice.empty()) test.text = absl::StrCat(advice, test.text.empty() ? "" : "\n\n", test.text);
}

JunitSuite EnvironmentSuite(const Report& report) {
  JunitSuite suite{"environment", 0, {}};
  bool blamed = false;
  for (const ReportNode& node : report.services) {
    JunitCase test = CaseFor("environment", node.name, StartTime(node));
    if (node.state == NodeState::kFailed) {
      // The verdict's cause has the evidence.
      const bool root = report.cause.node == node.name && report.verdict == Verdict::kError;
      Blame(test, Outcome::kError, root ? report.cause : node.cause);
      blamed |= root;
    } else if (node.state != NodeState::kReady && node.state != NodeState::kSucceeded && !Known(node.ready)) {
      Blame(test, Outcome::kSkipped, node.cause);
      if (node.cause.empty()) test.message = "it did not come to that";
    }
    suite.cases.push_back(std::move(test));
  }
  if (report.verdict == Verdict::kError && !blamed) {
    JunitCase test = CaseFor("environment", "environment", report.verdict_after);
    Blame(test, Outcome::kError, report.cause);
    suite.cases.insert(suite.cases.begin(), std::move(test));
  }
  if (report.verdict == Verdict::kCancelled) {
    JunitCase test = CaseFor("environment", "environment", report.verdict_after);
    Blame(test, Outcome::kSkipped, report.cause);
    suite.cases.insert(suite.cases.begin(), std::move(test));
  }
  if (report.torn_down || !report.teardown.blockers.empty()) {
    JunitCase test = CaseFor("environment", "teardown", report.teardown.took);
    if (!report.torn_down) {
      Blame(test, Outcome::kError,
            {CauseCode::kTeardownBlocked, "", DescribeTeardown(report), "", report.teardown.blockers});
    }
    suite.cases.push_back(std::move(test));
  }
  return suite;
}

bool Failed(const JunitCase& test) {
  return test.outcome == Outcome::kFailed || test.outcome == Outcome::kError;
}

// The job itself as a case: how it ended, where its own cases do not tell.
JunitCase JobCase(const ReportTest& job) {
  JunitCase test = CaseFor(job.job, job.job, job.took);
  if (job.state == NodeState::kFailed) {
    Blame(test, job.cause.code == CauseCode::kTestBroken ? Outcome::kError : Outcome::kFailed, job.cause);
  } else if (job.state == NodeState::kSucceeded) {
    test.flaky = job.flaky && job.tries > 1;
    if (test.flaky) test.message = absl::StrCat("succeeded at try ", job.tries);
  } else {
    Blame(test, Outcome::kSkipped, job.cause);
    if (job.cause.empty()) test.message = "it did not come to that";
  }
  return test;
}

JunitSuite JobSuite(const ReportTest& job, const JunitFile* file) {
  JunitSuite suite{job.job, absl::ToDoubleSeconds(job.took), {}};
  bool failed = false;
  if (file != nullptr) {
    for (const JunitSuite& own : file->suites) {
      for (JunitCase test : own.cases) {
        if (test.classname.empty()) test.classname = own.name.empty() ? job.job : own.name;
        failed |= Failed(test);
        suite.cases.push_back(std::move(test));
      }
    }
  }
  // A job that failed with all its cases green still failed: it crashed, or overran its deadline.
  if (suite.cases.empty() || (job.state == NodeState::kFailed && !failed)) suite.cases.push_back(JobCase(job));
  if (job.flaky && job.state == NodeState::kFailed) {
    for (JunitCase& test : suite.cases) {
      if (!Failed(test)) continue;
      test.outcome = Outcome::kSkipped;
      test.message = absl::StrCat("failed, but its job is declared flaky: ", test.message);
    }
  }
  return suite;
}

// "--" would end a comment for some readers.
std::string Comment(absl::string_view text) {
  std::string out(text);
  while (absl::StrContains(out, "--")) out = absl::StrReplaceAll(out, {{"--", "- -"}});
  return absl::StrCat("<!-- ", out, " -->");
}

}  // namespace

std::string WriteJunit(const Report& report, const std::map<std::string, JunitFile>& files) {
  JunitFile all;
  all.suites.push_back(EnvironmentSuite(report));
  for (const ReportTest& job : report.tests) {
    const auto file = files.find(job.job);
    all.suites.push_back(JobSuite(job, file == files.end() ? nullptr : &file->second));
  }
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("testsuites");
  SetAttribute(root, "name", report.environment.empty() ? "mayfly" : report.environment);
  WriteTotals(root, all.Totals());
  for (const JunitSuite& suite : all.suites) {
    if (suite.cases.empty()) continue;
    pugi::xml_node node = root.append_child("testsuite");
    SetAttribute(node, "name", suite.name);
    SetAttribute(node, "timestamp", absl::FormatTime("%Y-%m-%dT%H:%M:%S", report.create_time, absl::UTCTimeZone()));
    WriteTotals(node, JunitFile{{suite}}.Totals());
    for (const JunitCase& test : suite.cases) WriteCase(node, test);
  }
  std::ostringstream out;
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>" << Comment(Headline(report)) << "\n";
  document.save(out, "  ", pugi::format_indent | pugi::format_no_declaration, pugi::encoding_utf8);
  return out.str();
}

std::string WriteJunitWithFiles(const Report& report, const std::string& root) {
  std::map<std::string, JunitFile> files;
  for (const ReportTest& job : report.tests) {
    if (job.junit.empty()) continue;
    const std::string path = absl::StartsWith(job.junit, "/") ? job.junit : absl::StrCat(root, "/", job.junit);
    auto file = ReadJunitFile(path);
    if (!file.ok()) {
      // A job that succeeded without a readable file did succeed.
      JunitCase test = CaseFor(job.job, "JUnit file", absl::ZeroDuration());
      test.outcome = job.state == NodeState::kFailed ? Outcome::kError : Outcome::kSkipped;
      test.message = std::string(file.status().message());
      file = JunitFile{{{job.job, 0, {std::move(test), JobCase(job)}}}};
    }
    files[job.job] = *std::move(file);
  }
  return WriteJunit(report, files);
}

}  // namespace mayfly
