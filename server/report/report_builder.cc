#include "server/report/report_builder.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "server/report/critical_chain.h"
#include "server/report/node_track.h"

namespace mayfly {
namespace {

std::string Attribute(const Event& event, const std::string& key) {
  const auto it = event.attributes.find(key);
  return it == event.attributes.end() ? "" : it->second;
}

int Number(const Event& event, const std::string& key, int missing) {
  int value = 0;
  return absl::SimpleAtoi(Attribute(event, key), &value) ? value : missing;
}

bool IsTrue(const std::string& text) {
  return text == "true" || text == "1";
}

// What is known of a test job beyond its node.
struct JobResult {
  int tries = 0;
  bool flaky = false;
  int tests = -1;
  int failures = 0;
  int errors = 0;
  int skipped = 0;
  std::string junit;
  std::string artifacts;
  std::string note;
};

class Builder {
 public:
  void Apply(const Event& event) {
    // What the platform does at its own pace afterwards is no time of the environment.
    const bool after = event.kind == EventKind::kHeld || event.kind == EventKind::kGone;
    if (!after) report_.total = std::max(report_.total, event.offset);
    switch (event.kind) {
      case EventKind::kAccepted:
        OnAccepted(event);
        break;
      case EventKind::kPlanned:
        OnPlanned(event);
        break;
      case EventKind::kState:
        OnState(event);
        break;
      case EventKind::kNode:
        OnNode(event, nodes_[event.node]);
        break;
      case EventKind::kExposed:
        OnExposed(event);
        break;
      case EventKind::kJobResult:
        OnJobResult(event);
        break;
      case EventKind::kVerdict:
        report_.verdict = event.verdict;
        report_.cause = event.cause;
        report_.verdict_after = event.offset;
        break;
      case EventKind::kReceipt:
        report_.teardown = event.receipt;
        report_.torn_down = event.receipt.blockers.empty();
        receipt_ = event.offset;
        if (!report_.torn_down) break;
        report_.released_at = event.time;
        if (event.receipt.ending.empty()) report_.gone_at = event.time;
        break;
      case EventKind::kHeld:
        report_.held = event.receipt.blockers;
        break;
      case EventKind::kGone:
        report_.held.clear();
        report_.gone_at = event.time;
        if (Known(deleting_)) report_.gone_after = event.offset - deleting_;
        break;
      case EventKind::kNote:
        OnNote(event);
        break;
    }
  }

  Report Finish() {
    std::vector<NodeTrack> tracks;
    for (const PlannedNode& planned : plan_) {
      NodeTrack& track = tracks.emplace_back(nodes_[planned.name]);
      track.planned = planned;
    }
    const ChainScope scope = Scope();
    Release(scope, tracks);
    for (const NodeTrack& track : tracks) {
      if (track.is_test()) {
        report_.tests.push_back(TestOf(track));
      } else {
        report_.services.push_back(NodeOf(track));
      }
    }
    report_.critical_chain = CriticalChain(scope, tracks);
    const absl::Duration explained = NodeTime(report_.critical_chain);
    const absl::Duration wall = scope.end - scope.begin;
    report_.overhead = wall - explained;
    report_.explained = wall > absl::ZeroDuration() ? absl::FDivDuration(explained, wall) : 0;
    if (Known(receipt_) && Known(deleting_) && receipt_ > deleting_) {
      report_.critical_chain.push_back({"", "teardown", deleting_, receipt_});
    }
    return std::move(report_);
  }

 private:
  void OnAccepted(const Event& event) {
    report_.create_time = event.time;
    report_.environment = Attribute(event, "environment");
    report_.engine = Attribute(event, "engine");
    report_.catalogue = Attribute(event, "catalogue");
  }

  void OnPlanned(const Event& event) {
    // Whatever follows the first plan is a change of an environment that exists.
    if (!plan_.empty()) begin_ = event.offset;
    planned_ = event.offset;
    plan_ = event.plan;
    if (std::string catalogue = Attribute(event, "catalogue"); !catalogue.empty()) report_.catalogue = catalogue;
    // The verdict was about the former plan.
    report_.verdict = Verdict::kNone;
    report_.verdict_after = kNotYet;
    report_.cause = Cause();
    active_ = kNotYet;
  }

  void OnState(const Event& event) {
    report_.state = event.environment_state;
    if (!event.cause.empty() && !Known(report_.verdict_after)) report_.cause = event.cause;
    if (event.environment_state == EnvironmentState::kActive) {
      if (!Known(report_.ready_after)) report_.ready_after = event.offset;
      if (!Known(active_)) active_ = event.offset;
    }
    if (event.environment_state == EnvironmentState::kFailed && !Known(failed_)) failed_ = event.offset;
    if (event.environment_state == EnvironmentState::kDeleting && !Known(deleting_)) deleting_ = event.offset;
  }

  void OnNode(const Event& event, NodeTrack& node) {
    if (event.usage.cpu >= absl::ZeroDuration() || event.usage.peak_memory_bytes >= 0) {
      node.usage[event.attempt] = event.usage;
    }
    const NodeState state = event.node_state;
    if (state == NodeState::kStopped) {
      node.ended = event.offset;
      // How it ended by itself says more than that mayfly tidied up behind it.
      if (node.state != NodeState::kFailed && node.state != NodeState::kSucceeded &&
          node.state != NodeState::kSkipped) {
        node.state = state;
      }
      return;
    }
    const bool launch = state == NodeState::kStarting && Attribute(event, "phase") != "running";
    // A wait with a reason is one more try of the same beginning.
    const bool fresh = state == NodeState::kWaiting && Attribute(event, "reason").empty();
    if (fresh || (launch && Known(node.launched) && node.launched < begin_)) BeginAgain(event.node, node);
    node.state = state;
    node.cause = event.cause;
    if (launch) ++node.launches;
    if (launch && !Known(node.launched)) node.launched = event.offset;
    if (state == NodeState::kStarting && !launch && !Known(node.running)) node.running = event.offset;
    if (state == NodeState::kReady && !Known(node.ready)) node.ready = event.offset;
    if (state == NodeState::kSucceeded || state == NodeState::kFailed) node.finished = node.ended = event.offset;
  }

  void BeginAgain(const std::string& name, NodeTrack& node) {
    NodeTrack next;
    next.usage = std::move(node.usage);
    next.urls = std::move(node.urls);
    next.images = std::move(node.images);
    node = std::move(next);
    results_.erase(name);
  }

  void OnExposed(const Event& event) {
    std::string url = Attribute(event, "url");
    if (url.empty()) url = Attribute(event, "address");
    std::vector<std::string>& urls = nodes_[event.node].urls;
    if (!url.empty() && std::find(urls.begin(), urls.end(), url) == urls.end()) urls.push_back(std::move(url));
  }

  void OnNote(const Event& event) {
    std::map<std::string, std::string> images;
    for (const auto& [key, value] : event.attributes) {
      absl::string_view name = key;
      if (absl::ConsumePrefix(&name, "image ")) images[std::string(name)] = value;
    }
    if (!images.empty()) nodes_[event.node].images = std::move(images);
  }

  static std::vector<ReportImage> ImagesOf(const NodeTrack& track) {
    std::vector<ReportImage> images;
    for (const auto& [name, digest] : track.images) images.push_back({name, digest});
    return images;
  }

  void OnJobResult(const Event& event) {
    JobResult& result = results_[event.node];
    result.tries = Number(event, "tries", 1);
    result.flaky = IsTrue(Attribute(event, "flaky"));
    result.tests = Number(event, "tests", -1);
    result.failures = Number(event, "failures", 0);
    result.errors = Number(event, "errors", 0);
    result.skipped = Number(event, "skipped", 0);
    result.junit = Attribute(event, "junit");
    result.artifacts = Attribute(event, "artifacts");
    result.note = Attribute(event, "note");
    // By now the counts of its JUnit file are in the message.
    if (!event.cause.empty()) nodes_[event.node].cause = event.cause;
  }

  // The stretch of time that the chain explains: up to the verdict, or as far as it came without one.
  ChainScope Scope() const {
    ChainScope scope;
    scope.begin = begin_;
    scope.planned = planned_;
    scope.blamed = report_.cause.node;
    scope.end = report_.total;
    for (const absl::Duration end : {report_.verdict_after, active_, failed_, deleting_}) {
      if (!Known(end) || end < begin_) continue;
      scope.end = end;
      break;
    }
    scope.cut_short = report_.verdict == Verdict::kCancelled || scope.end == deleting_ || scope.end == report_.total;
    return scope;
  }

  static Usage Total(const NodeTrack& track) {
    Usage total;
    for (const auto& [attempt, usage] : track.usage) {
      if (usage.cpu >= absl::ZeroDuration()) total.cpu = std::max(total.cpu, absl::ZeroDuration()) + usage.cpu;
      total.peak_memory_bytes = std::max(total.peak_memory_bytes, usage.peak_memory_bytes);
    }
    return total;
  }

  static ReportNode NodeOf(const NodeTrack& track) {
    ReportNode node;
    node.name = track.planned.name;
    node.kind = track.planned.kind;
    node.state = track.state;
    node.needs = track.planned.needs;
    node.why = track.planned.why;
    node.attempts = track.launches;
    node.released = track.released;
    node.started = track.launched;
    node.ready = track.decided();
    node.ended = track.ended;
    node.usage = Total(track);
    node.cause = track.cause;
    node.urls = track.urls;
    node.images = ImagesOf(track);
    return node;
  }

  ReportTest TestOf(const NodeTrack& track) const {
    ReportTest test;
    test.job = track.planned.name;
    test.state = track.state;
    test.cause = track.cause;
    test.tries = track.launches;
    test.flaky = track.planned.flaky;
    test.images = ImagesOf(track);
    if (Known(track.launched) && Known(track.finished)) test.took = track.finished - track.launched;
    const auto found = results_.find(track.planned.name);
    if (found != results_.end()) {
      const JobResult& result = found->second;
      test.tries = result.tries;
      test.flaky |= result.flaky;
      test.tests = result.tests;
      test.failures = result.failures;
      test.errors = result.errors;
      test.skipped = result.skipped;
      test.junit = result.junit;
      test.artifacts = result.artifacts;
      test.note = result.note;
    }
    test.flaky |= track.state == NodeState::kSucceeded && test.tries > 1;
    return test;
  }

  Report report_;
  std::vector<PlannedNode> plan_;
  std::map<std::string, NodeTrack> nodes_;
  std::map<std::string, JobResult> results_;
  absl::Duration begin_;  // Of what the latest plan is about.
  absl::Duration planned_ = kNotYet;
  absl::Duration active_ = kNotYet;
  absl::Duration failed_ = kNotYet;
  absl::Duration deleting_ = kNotYet;
  absl::Duration receipt_ = kNotYet;
};

}  // namespace

Report BuildReport(const std::vector<Event>& events) {
  Builder builder;
  for (const Event& event : events) builder.Apply(event);
  return builder.Finish();
}

}  // namespace mayfly
