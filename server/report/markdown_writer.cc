#include "server/report/markdown_writer.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "mayfly/base/text.h"
#include "server/report/node_track.h"
#include "server/report/summary.h"

namespace mayfly {
namespace {

constexpr size_t kEvidenceLines = 20;
constexpr size_t kLongest = 500;

size_t LongestRun(absl::string_view text, char c) {
  size_t longest = 0;
  size_t run = 0;
  for (const char each : text) {
    run = each == c ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

// A code span that nothing in `text` can end. "" stays "".
std::string Code(absl::string_view text) {
  std::string safe = EscapeLine(text.substr(0, kLongest));
  if (safe.empty()) return "";
  const std::string fence(LongestRun(safe, '`') + 1, '`');
  // A blank each side lets the text begin and end with a backtick; markdown takes them away again.
  const std::string pad = safe.front() == '`' || safe.back() == '`' ? " " : "";
  return absl::StrCat(fence, pad, safe, pad, fence);
}

// In a table even a code span's bar ends the cell.
std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(Code(text), {{"|", "\\|"}});
}

std::string Block(const std::vector<std::string>& lines) {
  std::vector<std::string> safe;
  const size_t from = lines.size() > kEvidenceLines ? lines.size() - kEvidenceLines : 0;
  for (size_t i = from; i < lines.size(); ++i) safe.push_back(EscapeLine(lines[i].substr(0, kLongest)));
  const std::string text = absl::StrJoin(safe, "\n");
  const std::string fence(std::max<size_t>(3, LongestRun(text, '`') + 1), '`');
  return absl::StrCat(fence, "text\n", text, "\n", fence, "\n");
}

std::string CauseText(Cause cause, absl::string_view about) {
  if (cause.node == about) cause.node.clear();
  return FormatCause(cause);
}

std::string Row(const std::vector<std::string>& cells) {
  return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n");
}

std::string Folded(absl::string_view title, absl::string_view body) {
  return absl::StrCat("\n<details><summary>", title, "</summary>\n\n", body, "\n</details>\n");
}

std::string Heading(const Report& report) {
  std::string out = absl::StrCat("### ", Outcome(report));
  if (!report.environment.empty()) absl::StrAppend(&out, " ", Code(report.environment));
  if (!report.cause.empty()) absl::StrAppend(&out, ": ", Code(FormatCause(report.cause)));
  // What was achieved is our own text.
  if (report.cause.empty()) {
    const std::string headline = Headline(report);
    absl::StrAppend(&out, headline.substr(headline.find(": ")));
  }
  return out + "\n";
}

std::string Tests(const Report& report) {
  if (report.tests.empty()) return "";
  std::string out = "\n| Test job | State | Took | Tries | Result |\n| --- | --- | ---: | ---: | --- |\n";
  for (const ReportTest& test : report.tests) {
    std::vector<std::string> result;
    if (test.tests >= 0) result.push_back(DescribeCounts(test));
    if (test.flaky) result.push_back("flaky");
    if (!test.cause.empty()) result.push_back(Cell(CauseText(test.cause, test.job)));
    if (!test.note.empty()) result.push_back(Cell(test.note));
    const bool ran = test.tries > 0;
    absl::StrAppend(&out, Row({Cell(test.job), std::string(NodeStateName(test.state)), TimeOrDash(Took(test)),
                               ran ? absl::StrCat(test.tries) : "-", absl::StrJoin(result, ", ")}));
  }
  return out;
}

std::string Failed(const Report& report) {
  std::string out;
  for (const ReportNode& node : report.services) {
    if (node.state == NodeState::kFailed) {
      absl::StrAppend(&out, "- ", Code(node.name), " failed: ", Code(CauseText(node.cause, node.name)), "\n");
    }
  }
  for (const std::string& line : DescribeSkipped(report)) {
    absl::StrAppend(&out, "- skipped because of ", Code(line), "\n");
  }
  return out.empty() ? "" : "\n" + out;
}

std::string Services(const Report& report) {
  std::string out = "| Service | State | Start | CPU | Peak memory | Why |\n| --- | --- | ---: | ---: | ---: | --- |\n";
  for (const ReportNode& node : report.services) {
    absl::StrAppend(&out, Row({Cell(node.name), std::string(NodeStateName(node.state)), TimeOrDash(StartTime(node)),
                               CpuOrDash(node.usage), MemoryOrDash(node.usage), Cell(absl::StrJoin(node.why, ", "))}));
  }
  return out;
}

std::string Chain(const Report& report) {
  std::string out = "| Node | Phase | At | Took |\n| --- | --- | ---: | ---: |\n";
  for (const ChainLink& link : report.critical_chain) {
    absl::StrAppend(&out,
                    Row({Cell(link.node), link.phase, HumanDuration(link.from), HumanDuration(link.to - link.from)}));
  }
  return out;
}

}  // namespace

std::string WriteMarkdown(const Report& report) {
  std::string out = Heading(report);
  if (const std::string advice = Advice(report.cause); !advice.empty()) absl::StrAppend(&out, "\n", Code(advice), "\n");
  if (!report.cause.evidence.empty()) absl::StrAppend(&out, "\n", Block(report.cause.evidence));
  absl::StrAppend(&out, Tests(report), Failed(report), "\n", DescribeTime(report), "\n");
  if (!report.services.empty()) {
    absl::StrAppend(&out, Folded(absl::StrCat("Services (", report.services.size(), ")"), Services(report)));
  }
  if (!report.critical_chain.empty()) absl::StrAppend(&out, Folded("Critical chain", Chain(report)));
  absl::StrAppend(&out, "\nTeardown: ", DescribeTeardown(report), "\n");
  if (!report.teardown.blockers.empty()) absl::StrAppend(&out, "\n", Block(report.teardown.blockers));
  if (!report.held.empty()) absl::StrAppend(&out, "\n", Block(report.held));
  return out;
}

}  // namespace mayfly
