#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/progress.h"
#include "client/lib/convert.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr int kMaxNameColumns = 28;
constexpr int kStateColumns = 9;

struct StateLook {
  const char* unicode;
  const char* ascii;
  Style style;
};

StateLook LookOf(v1::Node::State state, int tick) {
  static constexpr const char* kSpinner[] = {"◐", "◓", "◑", "◒"};
  switch (state) {
    case v1::Node::STARTING:
      return {kSpinner[tick % 4], ">", Style::kYellow};
    case v1::Node::READY:
    case v1::Node::SUCCEEDED:
      return {"✓", "+", Style::kGreen};
    case v1::Node::FAILED:
      return {"✗", "x", Style::kRed};
    case v1::Node::SKIPPED:
      return {"–", "-", Style::kDim};
    case v1::Node::STOPPED:
      return {"■", "#", Style::kDim};
    default:
      return {"·", ".", Style::kDim};
  }
}

Style StyleOf(v1::Environment::State state) {
  switch (state) {
    case v1::Environment::ACTIVE:
      return Style::kGreen;
    case v1::Environment::FAILED:
      return Style::kRed;
    case v1::Environment::DELETED:
      return Style::kDim;
    default:
      return Style::kYellow;
  }
}

int NameColumns(const Progress& progress) {
  int columns = 8;
  for (const ProgressRow& row : progress.rows()) columns = std::max(columns, Columns(EscapeLine(row.name)));
  return std::min(columns, kMaxNameColumns);
}

// What the last column says about a node.
std::string Story(const ProgressRow& row) {
  if (row.state == v1::Node::FAILED || row.state == v1::Node::SKIPPED) {
    Cause cause = CauseOf(row.cause);
    if (row.state == v1::Node::SKIPPED && !cause.node.empty()) return absl::StrCat(EscapeLine(cause.node), " failed");
    if (cause.node == row.name) cause.node.clear();
    if (!cause.empty()) return FormatCause(cause);
  }
  if (row.state == v1::Node::READY && !row.urls.empty()) return EscapeLine(row.urls.front());
  if (row.state == v1::Node::WAITING)
    return row.needs.empty() ? "" : "for " + EscapeLine(absl::StrJoin(row.needs, ", "));
  return EscapeLine(row.note);
}

std::string RenderRow(const ProgressRow& row, const Look& look, int name_columns, absl::Duration offset, int tick) {
  const StateLook state_look = LookOf(row.state, tick);
  absl::Duration shown = row.took;
  if (row.state == v1::Node::STARTING) shown = std::max(offset - row.since, absl::ZeroDuration());
  const bool timed = row.state == v1::Node::STARTING || row.took > absl::ZeroDuration();
  const std::string elapsed = timed ? HumanDuration(shown) : "";
  const std::string name = PadColumns(FitColumns(EscapeLine(row.name), name_columns, look.unicode), name_columns);
  const std::string state = PadColumns(v1::Node::State_Name(row.state), kStateColumns);
  const std::string head = absl::StrCat(look.unicode ? state_look.unicode : state_look.ascii, " ", name, "  ");
  const std::string time = absl::StrFormat("  %9s", elapsed);
  const int left = look.width - Columns(head) - kStateColumns - Columns(time) - 2;
  std::string story;
  if (const std::string full = Story(row); !full.empty() && left > 3) {
    story = absl::StrCat("  ", FitColumns(full, left, look.unicode));
  }
  // Too narrow for the time, too: what remains is what the node is called and how it is.
  if (left < 0) return FitColumns(absl::StrCat(head, state), look.width, look.unicode);
  const Style story_style = row.state == v1::Node::FAILED ? Style::kRed : Style::kDim;
  return absl::StrCat(head, Paint(look, state_look.style, state), time, Paint(look, story_style, story));
}

std::string Counted(int count, absl::string_view one, absl::string_view many) {
  return absl::StrCat(count, " ", count == 1 ? one : many);
}

// What moves or needs attention first; among equals the plan's order.
int Urgency(v1::Node::State state) {
  switch (state) {
    case v1::Node::FAILED:
      return 0;
    case v1::Node::STARTING:
      return 1;
    case v1::Node::WAITING:
      return 2;
    default:
      return 3;
  }
}

std::vector<const ProgressRow*> Visible(const Progress& progress, size_t limit) {
  std::vector<const ProgressRow*> rows;
  for (const ProgressRow& row : progress.rows()) rows.push_back(&row);
  if (rows.size() <= limit) return rows;
  std::vector<const ProgressRow*> urgent = rows;
  std::stable_sort(urgent.begin(), urgent.end(),
                   [](const ProgressRow* a, const ProgressRow* b) { return Urgency(a->state) < Urgency(b->state); });
  urgent.resize(limit);
  // Back in the plan's order, so that rows do not jump about.
  std::sort(urgent.begin(), urgent.end());
  return urgent;
}

}  // namespace

std::vector<std::string> RenderFrame(const Progress& progress, absl::string_view environment, const Look& look,
                                     absl::Duration offset, int tick) {
  Look measured = look;
  if (measured.width <= 0) measured.width = 80;
  std::vector<std::string> lines;
  const std::string state = v1::Environment::State_Name(progress.state());
  const std::string counts = CountNodes(progress);
  const std::string name = EscapeLine(environment);
  const std::string rest =
      absl::StrCat("  ", HumanDuration(std::max(offset, absl::ZeroDuration())), counts.empty() ? "" : "  ", counts);
  const int left = measured.width - Columns(name) - 2 - static_cast<int>(state.size());
  lines.push_back(absl::StrCat(FitColumns(name, measured.width, look.unicode), left < 0 ? "" : "  ",
                               left < 0 ? "" : Paint(look, StyleOf(progress.state()), state),
                               left < 3 ? "" : FitColumns(rest, left, look.unicode)));
  const int name_columns = std::min(NameColumns(progress), std::max(8, measured.width / 3));
  const size_t limit = static_cast<size_t>(std::max(measured.height - 3, 1));
  const auto visible = Visible(progress, limit);
  for (const ProgressRow* row : visible) lines.push_back(RenderRow(*row, measured, name_columns, offset, tick));
  if (visible.size() < progress.rows().size()) {
    const std::string more =
        absl::StrCat(look.unicode ? "… " : "... ", progress.rows().size() - visible.size(), " more");
    lines.push_back(Paint(look, Style::kDim, FitColumns(more, measured.width, look.unicode)));
  }
  return lines;
}

std::string RenderEvent(const Progress& before, const v1::Event& event, const Look& look) {
  const auto line = [&](absl::string_view who, Style style, absl::string_view word, absl::string_view story) {
    const std::string stamp = absl::StrFormat("%9s", HumanDuration(ToDuration(event.offset())));
    std::string out =
        absl::StrCat(Paint(look, Style::kDim, stamp), "  ", PadColumns(EscapeLine(who), NameColumns(before)), "  ",
                     Paint(look, style, PadColumns(word, kStateColumns)));
    if (!story.empty()) absl::StrAppend(&out, "  ", story);
    return std::string(absl::StripTrailingAsciiWhitespace(out));
  };
  switch (event.kind()) {
    case v1::Event::PLANNED: {
      int jobs = 0, tests = 0;
      for (const v1::Node& node : event.plan()) {
        jobs += node.kind() == v1::Node::JOB;
        tests += node.kind() == v1::Node::TEST_JOB;
      }
      return line("", Style::kPlain, "PLANNED",
                  absl::StrCat(Counted(event.plan_size() - jobs - tests, "service", "services"), ", ",
                               Counted(jobs, "job", "jobs"), ", ", Counted(tests, "test job", "test jobs")));
    }
    case v1::Event::STATE:
      return line("", StyleOf(event.environment_state()), v1::Environment::State_Name(event.environment_state()),
                  FormatCause(CauseOf(event.cause())));
    case v1::Event::NODE: {
      Progress after = before;
      after.Apply(event);
      const auto row = std::find_if(after.rows().begin(), after.rows().end(),
                                    [&](const ProgressRow& r) { return r.name == event.node(); });
      const auto old = std::find_if(before.rows().begin(), before.rows().end(),
                                    [&](const ProgressRow& r) { return r.name == event.node(); });
      // STARTING is told twice, when launched and when running; once is enough here.
      if (old != before.rows().end() && old->state == event.node_state() && old->attempt == event.attempt()) return "";
      std::string story = row->state == v1::Node::WAITING ? EscapeLine(row->note) : Story(*row);
      if (row->took > absl::ZeroDuration() && (row->state == v1::Node::READY || row->state == v1::Node::SUCCEEDED)) {
        story = absl::StrCat("after ", HumanDuration(row->took), story.empty() ? "" : "  ", story);
      }
      return line(event.node(), LookOf(event.node_state(), 0).style, v1::Node::State_Name(event.node_state()), story);
    }
    case v1::Event::EXPOSED: {
      const auto url = event.attributes().find("url");
      return url == event.attributes().end() ? ""
                                             : line(event.node(), Style::kPlain, "EXPOSED", EscapeLine(url->second));
    }
    case v1::Event::NOTE:
      return line(event.node(), Style::kPlain, "note", EscapeLine(event.message()));
    case v1::Event::VERDICT:
      return line("", event.verdict() == v1::VERDICT_PASSED ? Style::kGreen : Style::kRed, VerdictWord(event.verdict()),
                  FormatCause(CauseOf(event.cause())));
    case v1::Event::RECEIPT:
      return line("", Style::kPlain, "removed", DescribeReceipt(event.receipt()));
    case v1::Event::HELD: {
      const std::string place = EscapeLine(event.receipt().ending());
      if (event.receipt().blockers().empty()) return line("", Style::kPlain, "ending", place + " is held no more");
      const std::vector<std::string> holders(event.receipt().blockers().begin(), event.receipt().blockers().end());
      return line("", Style::kYellow, "held", absl::StrCat(place, ": ", EscapeLine(absl::StrJoin(holders, "; "))));
    }
    case v1::Event::GONE:
      return line("", Style::kPlain, "gone", EscapeLine(event.receipt().ending()));
    default:
      return "";
  }
}

std::string DescribeReceipt(const v1::Receipt& receipt) {
  if (!receipt.blockers().empty()) {
    std::vector<std::string> blockers;
    for (const std::string& blocker : receipt.blockers()) blockers.push_back(EscapeLine(blocker));
    return absl::StrCat("could not remove: ", absl::StrJoin(blockers, "; "));
  }
  return absl::StrCat(
      Counted(receipt.processes(), "process", "processes"), ", ", Counted(receipt.mounts(), "mount", "mounts"), ", ",
      Counted(receipt.networks(), "network", "networks"), " in ", HumanDuration(ToDuration(receipt.took())));
}

Cause CauseOf(const v1::Cause& cause) {
  Cause out;
  if (cause.code().empty()) return out;
  out.code = CauseCodeFromName(cause.code());
  // A server newer than this client may know more codes.
  if (out.code == CauseCode::kNone) out.code = CauseCode::kInternal;
  out.node = cause.node();
  out.message = cause.message();
  out.hint = cause.hint();
  out.evidence.assign(cause.evidence().begin(), cause.evidence().end());
  out.inferred = cause.inferred();
  return out;
}

std::vector<std::string> DescribeFailure(const v1::Cause& cause, absl::string_view environment, const Look& look) {
  const Cause value = CauseOf(cause);
  if (value.empty()) return {};
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(Paint(look, Style::kRed, "error:"), " ", FormatCause(value)));
  const std::string advice = value.hint.empty() ? std::string(InfoFor(value.code).advice) : EscapeLine(value.hint);
  if (!advice.empty()) lines.push_back(absl::StrCat("  ", advice));
  for (const std::string& evidence : value.evidence) {
    lines.push_back(absl::StrCat(Paint(look, Style::kDim, "  | "), EscapeLine(evidence)));
  }
  if (!value.node.empty()) {
    lines.push_back(
        absl::StrCat("  its whole log: mayfly logs ", EscapeLine(value.node), " --name ", EscapeLine(environment)));
  }
  return lines;
}

std::string KindWord(v1::Node::Kind kind) {
  switch (kind) {
    case v1::Node::JOB:
      return "job";
    case v1::Node::TEST_JOB:
      return "test job";
    default:
      return "service";
  }
}

std::string VerdictWord(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_PASSED:
      return "PASSED";
    case v1::VERDICT_FAILED:
      return "FAILED";
    case v1::VERDICT_ERROR:
      return "ERROR";
    case v1::VERDICT_CANCELLED:
      return "CANCELLED";
    default:
      return "";
  }
}

}  // namespace mayfly
