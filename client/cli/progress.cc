#include "client/cli/progress.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/lib/convert.h"

namespace mayfly {

ProgressRow& Progress::Row(const std::string& name) {
  const auto [it, added] = index_.try_emplace(name, rows_.size());
  if (added) {
    rows_.emplace_back();
    rows_.back().name = name;
  }
  return rows_[it->second];
}

void Progress::ApplyPlan(const v1::Event& event) {
  // An update's plan replaces the one before: what it leaves out is gone, what stays keeps its state.
  std::vector<ProgressRow> old = std::move(rows_);
  const std::map<std::string, size_t> old_index = std::move(index_);
  rows_.clear();
  index_.clear();
  for (const v1::Node& node : event.plan()) {
    ProgressRow& row = Row(node.name());
    if (const auto it = old_index.find(node.name()); it != old_index.end()) row = std::move(old[it->second]);
    row.kind = node.kind();
    row.needs.assign(node.needs().begin(), node.needs().end());
  }
}

void Progress::Apply(const v1::Event& event) {
  if (event.sequence() != 0 && event.sequence() <= last_sequence_) return;
  last_sequence_ = event.sequence();
  last_offset_ = ToDuration(event.offset());
  last_time_ = ToTime(event.time());
  switch (event.kind()) {
    case v1::Event::PLANNED:
      ApplyPlan(event);
      break;
    case v1::Event::STATE:
      state_ = event.environment_state();
      if (state_ == v1::Environment::ACTIVE) active_after_ = last_offset_;
      // A verdict's cause stands; what follows (such as "deleted by its run") does not replace it.
      if (event.has_cause() && verdict_ == v1::VERDICT_UNSPECIFIED) cause_ = event.cause();
      if (state_ == v1::Environment::UPDATING) cause_.Clear();
      break;
    case v1::Event::NODE: {
      ProgressRow& row = Row(event.node());
      const bool changes = event.node_state() != row.state || event.attempt() != row.attempt;
      if (changes) row.since = last_offset_;
      // STARTING comes twice, launched and running: what is measured begins with the first.
      if (event.node_state() == v1::Node::STARTING && changes) row.launched = last_offset_;
      if (event.node_state() == v1::Node::READY || event.node_state() == v1::Node::SUCCEEDED) {
        row.took = last_offset_ - row.launched;
      }
      row.state = event.node_state();
      row.attempt = event.attempt();
      row.cause = event.cause();
      row.note = event.message();
      break;
    }
    case v1::Event::EXPOSED:
      if (const auto url = event.attributes().find("url"); url != event.attributes().end()) {
        Row(event.node()).urls.push_back(url->second);
      }
      break;
    case v1::Event::NOTE:
      if (!event.node().empty()) Row(event.node()).note = event.message();
      break;
    case v1::Event::VERDICT:
      verdict_ = event.verdict();
      verdict_sequence_ = event.sequence();
      cause_ = event.cause();
      break;
    case v1::Event::GONE:
      gone_ = true;
      break;
    case v1::Event::RECEIPT:
      has_receipt_ = true;
      receipt_ = event.receipt();
      break;
    default:
      break;
  }
}

int Progress::Count(v1::Node::State state, v1::Node::Kind kind) const {
  int count = 0;
  for (const ProgressRow& row : rows_) {
    count += row.state == state && (kind == v1::Node::KIND_UNSPECIFIED || row.kind == kind);
  }
  return count;
}

std::string CountNodes(const Progress& progress) {
  static constexpr std::pair<v1::Node::State, const char*> kWords[] = {
      {v1::Node::READY, "ready"},    {v1::Node::SUCCEEDED, "done"},  {v1::Node::STARTING, "starting"},
      {v1::Node::FAILED, "failed"},  {v1::Node::SKIPPED, "skipped"}, {v1::Node::WAITING, "waiting"},
      {v1::Node::STOPPED, "stopped"}};
  std::vector<std::string> parts;
  for (const auto& [state, word] : kWords) {
    const int count = progress.Count(state, v1::Node::KIND_UNSPECIFIED);
    if (count > 0) parts.push_back(absl::StrCat(count, " ", word));
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace mayfly
