#include "server/report/text_writer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "server/report/node_track.h"
#include "server/report/summary.h"

namespace mayfly {
namespace {

constexpr size_t kMostNamed = 3;  // Users of one image.
constexpr size_t kWidth = 100;
constexpr size_t kNarrow = 80;
constexpr size_t kBar = 24;
constexpr size_t kLongestName = 28;
constexpr size_t kEvidenceLines = 20;

// The length as a terminal shows it, near enough: continuation bytes take no column.
size_t Columns(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::string Cut(const std::string& text, size_t columns) {
  if (Columns(text) <= columns) return text;
  size_t end = 0;
  size_t shown = 0;
  while (end < text.size()) {
    size_t next = end + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (++shown > columns - 3) break;
    end = next;
  }
  return absl::StrCat(text.substr(0, end), "...");
}

// Broken behind a comma where it would be wider than a narrow terminal; what follows is indented.
std::string Wrap(const std::string& text) {
  std::string out;
  size_t column = 0;
  for (const absl::string_view part : absl::StrSplit(text, ", ")) {
    const size_t columns = Columns(part);
    if (column > 0 && column + 2 + columns + 1 > kNarrow) {
      absl::StrAppend(&out, ",\n  ", part);
      column = 2 + columns;
    } else {
      absl::StrAppend(&out, column > 0 ? ", " : "", part);
      column += (column > 0 ? 2 : 0) + columns;
    }
  }
  return out;
}

// Rows of equal length as columns; those of `right` are aligned to the right. No blanks at the ends of lines.
std::string Table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right) {
  std::vector<size_t> widths(right.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - Columns(row[i]), ' ');
      absl::StrAppend(&line, i == 0 ? "  " : "  ", right[i] ? pad : "", row[i], right[i] ? "" : pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, line, "\n");
  }
  return out;
}

std::string Name(const std::string& name) {
  return Cut(EscapeLine(name), kLongestName);
}

// '.' waiting for what it needs, '#' starting, '=' usable or done; over `span`.
std::string Bar(const ReportNode& node, absl::Duration span) {
  if (span <= absl::ZeroDuration() || !Known(node.started)) return std::string(kBar, '.');
  const auto cell = [&](absl::Duration offset) {
    const double at = absl::FDivDuration(offset, span) * kBar;
    return static_cast<size_t>(std::clamp<double>(std::floor(at), 0, kBar));
  };
  std::string bar(kBar, ' ');
  const size_t started = std::min(cell(node.started), kBar - 1);
  const size_t ready = Known(node.ready) ? std::max(cell(node.ready), started + 1) : kBar;
  std::fill(bar.begin(), bar.begin() + started, '.');
  std::fill(bar.begin() + started, bar.begin() + ready, '#');
  const bool usable = node.kind == NodeKind::kService && node.state != NodeState::kFailed;
  if (usable) std::fill(bar.begin() + ready, bar.end(), '=');
  return bar;
}

std::string CauseBlock(const Report& report) {
  std::string out;
  if (const std::string advice = Advice(report.cause); !advice.empty()) absl::StrAppend(&out, "  ", advice, "\n");
  const std::vector<std::string>& evidence = report.cause.evidence;
  const size_t from = evidence.size() > kEvidenceLines ? evidence.size() - kEvidenceLines : 0;
  for (size_t i = from; i < evidence.size(); ++i) {
    absl::StrAppend(&out, "  | ", Cut(EscapeLine(evidence[i]), kWidth - 4), "\n");
  }
  return out;
}

std::string Header(const Report& report) {
  std::string out = absl::StrCat("catalogue ", report.catalogue.empty() ? "-" : EscapeLine(report.catalogue),
                                 ", engine ", report.engine.empty() ? "-" : EscapeLine(report.engine), ", created ");
  absl::StrAppend(&out, absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", report.create_time, absl::UTCTimeZone()), "\n");
  return absl::StrCat(out, Wrap(DescribeTime(report)), "\n");
}

std::string Tests(const Report& report) {
  if (report.tests.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{"TEST JOB", "STATE", "TOOK", "TRIES", "RESULT"}};
  for (const ReportTest& test : report.tests) {
    std::string result = DescribeCounts(test);
    if (test.flaky) absl::StrAppend(&result, result.empty() ? "" : ", ", "flaky");
    Cause cause = test.cause;
    if (cause.node == test.job) cause.node.clear();
    if (test.state != NodeState::kSkipped && !cause.empty()) {
      absl::StrAppend(&result, result.empty() ? "" : "; ", FormatCause(cause));
    }
    const bool ran = test.tries > 0;
    rows.push_back({Name(test.job), std::string(NodeStateName(test.state)), TimeOrDash(Took(test)),
                    ran ? absl::StrCat(test.tries) : "-", Cut(result, 44)});
  }
  std::string notes;
  for (const ReportTest& test : report.tests) {
    if (!test.note.empty()) absl::StrAppend(&notes, "  note  ", Name(test.job), ": ", EscapeLine(test.note), "\n");
  }
  return absl::StrCat("\n", Table(rows, {false, false, true, true, false}), notes);
}

std::string Services(const Report& report) {
  if (report.services.empty()) return "";
  const absl::Duration span = Known(report.verdict_after) ? report.verdict_after
                              : Known(report.ready_after) ? report.ready_after
                                                          : report.total;
  std::vector<std::vector<std::string>> rows = {
      {"SERVICE", "STATE", "START", "CPU", "MEMORY", absl::StrCat("0 .. ", HumanDuration(span))}};
  for (const ReportNode& node : report.services) {
    rows.push_back({Name(node.name), std::string(NodeStateName(node.state)), TimeOrDash(StartTime(node)),
                    CpuOrDash(node.usage), MemoryOrDash(node.usage), Bar(node, span)});
  }
  return absl::StrCat("\n", Table(rows, {false, false, true, true, true, false}),
                      "  (. waits for what it needs, # starts, = usable)\n");
}

std::string Failures(const Report& report) {
  std::string out;
  for (const ReportNode& node : report.services) {
    if (node.state != NodeState::kFailed) continue;
    Cause cause = node.cause;
    if (cause.node.empty()) cause.node = node.name;
    absl::StrAppend(&out, "  failed   ", FormatCause(cause), "\n");
  }
  for (const std::string& line : DescribeSkipped(report)) absl::StrAppend(&out, "  skipped  because of ", line, "\n");
  return out.empty() ? "" : absl::StrCat("\n", out);
}

std::string Chain(const Report& report) {
  if (report.critical_chain.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{"CRITICAL CHAIN", "", "AT", "TOOK"}};
  for (const ChainLink& link : report.critical_chain) {
    rows.push_back({link.node.empty() ? "-" : Name(link.node), link.phase, HumanDuration(link.from),
                    HumanDuration(link.to - link.from)});
  }
  return absl::StrCat("\n", Table(rows, {false, false, true, true}));
}

std::string Exposed(const Report& report) {
  std::string out;
  for (const ReportNode& node : report.services) {
    for (const std::string& url : node.urls) {
      absl::StrAppend(&out, "  ", Name(node.name), "  ", EscapeLine(url), "\n");
    }
  }
  return out.empty() ? "" : absl::StrCat("\nexposed\n", out);
}

// One line for what many services have in common.
std::string Images(const Report& report) {
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> users;
  const auto add = [&users](const std::string& node, const std::vector<ReportImage>& images) {
    for (const ReportImage& image : images) users[{image.name, image.digest}].push_back(Name(node));
  };
  for (const ReportNode& node : report.services) add(node.name, node.images);
  for (const ReportTest& test : report.tests) add(test.job, test.images);
  std::vector<std::vector<std::string>> rows = {{"IMAGE", "WAS", "OF"}};
  for (auto& [image, nodes] : users) {
    const size_t more = nodes.size() > kMostNamed ? nodes.size() - kMostNamed : 0;
    nodes.resize(nodes.size() - more);
    if (more > 0) nodes.back() += absl::StrCat(" and ", more, " more");
    rows.push_back({EscapeLine(image.first), image.second.empty() ? "not pinned" : EscapeLine(image.second),
                    absl::StrJoin(nodes, ", ")});
  }
  return users.empty() ? "" : absl::StrCat("\n", Table(rows, {false, false, false}));
}

std::string Teardown(const Report& report) {
  std::string out = absl::StrCat("\n", Wrap(absl::StrCat("teardown ", DescribeTeardown(report))), "\n");
  for (const std::string& blocker : report.teardown.blockers)
    absl::StrAppend(&out, "  left: ", EscapeLine(blocker), "\n");
  for (const std::string& holder : report.held) absl::StrAppend(&out, "  held: ", EscapeLine(holder), "\n");
  return out;
}

}  // namespace

std::string WriteText(const Report& report) {
  return absl::StrCat(Headline(report), "\n", CauseBlock(report), Header(report), Tests(report), Services(report),
                      Failures(report), Chain(report), report.torn_down ? "" : Exposed(report), Images(report),
                      Teardown(report));
}

}  // namespace mayfly
