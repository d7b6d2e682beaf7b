// What one turn of an orchestrator writes: collected while the turn runs, made durable at its end as one batch, and
// only then shown to watchers. Effects on the engine come after the commit, so that every intent is durable before its
// effect.
#ifndef MAYFLY_SERVER_RUN_JOURNAL_H_
#define MAYFLY_SERVER_RUN_JOURNAL_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "mayfly/base/loop.h"
#include "server/run/event_logs.h"
#include "server/store/store.h"

namespace mayfly {

// Not thread-safe: belongs to one orchestrator. None of the pointers is owned.
class Journal {
 public:
  // Where the log of an environment stands: its newest event, or nothing yet for one that was just accepted.
  struct Position {
    int64_t sequence = 0;
    absl::Duration offset;
    absl::Time time;
  };
  Journal(EnvironmentRecord record, Position position, Loop* loop, Store* store, EventLogs* logs);

  const EnvironmentRecord& record() const { return record_; }
  // The record, to be changed now; it is written with this turn.
  EnvironmentRecord& Change();

  // A new event of now, or of the monotonic moment `when`. Offsets never go back: a late one counts as of the last
  // event. The reference is good until the next Add.
  Event& Add(EventKind kind);
  Event& Add(EventKind kind, absl::Duration when);
  // The monotonic moment of an offset in this log, and back.
  absl::Duration Moment(absl::Duration offset) const { return origin_ + offset; }

  void Put(absl::string_view kind, const std::string& name, int attempt, const std::string& digest, bool confirmed);
  void Remove(absl::string_view kind, const std::string& name);
  // Everything that was put and not removed, here or by a former server (Know).
  void RemoveAll();
  void Know(const ResourceRecord& resource) { resources_.insert({resource.kind, resource.name}); }
  // What it is made from by now; see WriteBatch::source.
  void KeepSource(std::string source) { batch_.source = std::move(source); }
  void Measure(const std::string& catalogue, const std::string& node, absl::Duration start_time);

  bool empty() const;
  // On error nothing was written and everything is kept for the next try.
  absl::Status Commit();

  // Of the newest durable event.
  int64_t committed_sequence() const { return committed_; }

 private:
  EnvironmentRecord record_;
  bool changed_ = false;
  WriteBatch batch_;
  std::set<std::pair<std::string, std::string>> resources_;  // By kind and name.
  int64_t sequence_;
  int64_t committed_;
  absl::Duration last_offset_;
  absl::Duration origin_;  // Monotonic moment of acceptance.
  Loop* const loop_;
  Store* const store_;
  EventLogs* const logs_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_JOURNAL_H_
