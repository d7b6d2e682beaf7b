#include "server/report/critical_chain.h"

#include <algorithm>
#include <map>

#include "absl/strings/strip.h"

namespace mayfly {
namespace {

class Walk {
 public:
  Walk(const ChainScope& scope, const std::vector<NodeTrack>& nodes) : scope_(scope), nodes_(nodes) {
    for (const NodeTrack& node : nodes) by_name_[node.planned.name] = &node;
  }

  // What a need waits for: a node and the moment at which its condition was met.
  struct Met {
    const NodeTrack* node = nullptr;
    absl::Duration when = kNotYet;
  };

  Met MetNeed(const std::string& need) const {
    absl::string_view name = need;
    const bool started = absl::ConsumeSuffix(&name, ":started");
    absl::ConsumeSuffix(&name, ":completed");
    const auto it = by_name_.find(std::string(name));
    if (it == by_name_.end()) return {};
    const NodeTrack& node = *it->second;
    if (started) return {&node, Known(node.running) ? node.running : node.launched};
    if (node.is_service()) return {&node, node.ready};
    return {&node, node.state == NodeState::kSucceeded ? node.finished : kNotYet};
  }

  // The need that was met last; the plan itself when there is none. Unknown `when`: not all were met.
  Met Releaser(const NodeTrack& node) const {
    Met last{nullptr, scope_.planned};
    for (const std::string& need : node.planned.needs) {
      const Met met = MetNeed(need);
      if (met.node == nullptr) continue;  // An update took it out of the plan.
      if (!Known(met.when)) return {met.node, kNotYet};
      if (met.when > last.when) last = met;
    }
    return last;
  }

  std::vector<ChainLink> Run() {
    End end = FindEnd();
    absl::Duration cursor = scope_.end;
    if (end.node == nullptr) {
      Add("", "plan", scope_.begin, cursor);
      return Finish();
    }
    Add("", "wait", end.when, cursor);
    cursor = std::min(end.when, cursor);
    const NodeTrack* node = end.node;
    // Every step goes back to something that was launched earlier; the count guards against a log that contradicts
    // itself.
    for (size_t steps = 0; node != nullptr && steps <= nodes_.size(); ++steps) {
      if (Known(node->ready) && node->ready < cursor && node->is_service() && node == end.node) {
        Add(node->planned.name, "run", node->ready, cursor);
        cursor = node->ready;
      }
      const absl::Duration launched = std::clamp(node->launched, scope_.begin, cursor);
      Add(node->planned.name, Phase(*node), launched, cursor);
      cursor = launched;
      const Met before = Blocker(*node, cursor);
      if (before.node == nullptr || !Known(before.when) || before.when <= scope_.begin) {
        Add("", "plan", scope_.begin, cursor);
        return Finish();
      }
      Add(node->planned.name, "wait", before.when, cursor);
      cursor = std::min(before.when, cursor);
      node = before.node;
    }
    return Finish();
  }

 private:
  struct End {
    const NodeTrack* node = nullptr;
    absl::Duration when = kNotYet;
  };

  static absl::string_view Phase(const NodeTrack& node) {
    return node.is_test() ? "test" : node.is_service() ? "start" : "run";
  }

  // Where the chain ends: the node at fault, or else the last one to be decided.
  End FindEnd() const {
    const auto blamed = by_name_.find(scope_.blamed);
    if (blamed != by_name_.end() && blamed->second->state == NodeState::kFailed && Launched(*blamed->second)) {
      return {blamed->second, std::min(blamed->second->finished, scope_.end)};
    }
    End last;
    for (const NodeTrack& node : nodes_) {
      if (!Launched(node)) continue;
      absl::Duration when = node.decided();
      if (!Known(when) || when > scope_.end) {
        if (!scope_.cut_short) continue;
        when = scope_.end;
      }
      // Of those still on their way at the end, the one that was so for longest.
      const bool longer = last.node != nullptr && when == last.when && node.launched < last.node->launched;
      if (when >= scope_.begin && (when > last.when || longer)) last = {&node, when};
    }
    return last;
  }

  bool Launched(const NodeTrack& node) const {
    return Known(node.launched) && node.launched >= scope_.begin && node.launched <= scope_.end;
  }

  // What `node` waited for until it was launched: its last need, or the node whose end gave it a slot.
  Met Blocker(const NodeTrack& node, absl::Duration launched) const {
    const Met need = Releaser(node);
    const absl::Duration gap = launched - need.when;
    if (!Known(need.when) || gap < absl::Milliseconds(2)) return need;
    Met slot = need;
    for (const NodeTrack& other : nodes_) {
      const absl::Duration freed = other.decided();
      if (&other == &node || other.is_test() != node.is_test() || !Launched(other) || freed > launched) continue;
      if (freed > slot.when && launched - freed <= gap / 4) slot = {&other, freed};
    }
    return slot;
  }

  void Add(const std::string& node, absl::string_view phase, absl::Duration from, absl::Duration to) {
    from = std::max(from, scope_.begin);
    if (from < to) links_.push_back({node, std::string(phase), from, to});
  }

  std::vector<ChainLink> Finish() {
    std::reverse(links_.begin(), links_.end());
    return std::move(links_);
  }

  const ChainScope& scope_;
  const std::vector<NodeTrack>& nodes_;
  std::map<std::string, const NodeTrack*> by_name_;
  std::vector<ChainLink> links_;  // Latest first.
};

}  // namespace

void Release(const ChainScope& scope, std::vector<NodeTrack>& nodes) {
  const Walk walk(scope, nodes);
  for (NodeTrack& node : nodes) node.released = walk.Releaser(node).when;
}

std::vector<ChainLink> CriticalChain(const ChainScope& scope, const std::vector<NodeTrack>& nodes) {
  return Walk(scope, nodes).Run();
}

absl::Duration NodeTime(const std::vector<ChainLink>& chain) {
  absl::Duration sum;
  for (const ChainLink& link : chain) {
    if (link.phase == "start" || link.phase == "run" || link.phase == "test") sum += link.to - link.from;
  }
  return sum;
}

}  // namespace mayfly
