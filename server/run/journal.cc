#include "server/run/journal.h"

#include <algorithm>
#include <utility>

namespace mayfly {

Journal::Journal(EnvironmentRecord record, Position position, Loop* loop, Store* store, EventLogs* logs)
    : record_(std::move(record)),
      sequence_(position.sequence),
      committed_(position.sequence),
      last_offset_(position.offset),
      loop_(loop),
      store_(store),
      logs_(logs) {
  // The wall clock bridges the time without a server; it may jump, so the log never goes back for it.
  const absl::Duration since = position.sequence == 0 ? absl::ZeroDuration() : loop->Wall() - position.time;
  origin_ = loop->Monotonic() - position.offset - std::max(since, absl::ZeroDuration());
}

EnvironmentRecord& Journal::Change() {
  changed_ = true;
  record_.update_time = loop_->Wall();
  return record_;
}

Event& Journal::Add(EventKind kind) {
  return Add(kind, loop_->Monotonic());
}

Event& Journal::Add(EventKind kind, absl::Duration when) {
  const absl::Duration now = loop_->Monotonic();
  const absl::Duration offset = std::clamp(when - origin_, last_offset_, std::max(last_offset_, now - origin_));
  last_offset_ = offset;
  Event& event = batch_.events.emplace_back();
  event.sequence = ++sequence_;
  event.kind = kind;
  event.offset = offset;
  event.time = loop_->Wall() - (now - (origin_ + offset));
  return event;
}

void Journal::Put(absl::string_view kind, const std::string& name, int attempt, const std::string& digest,
                  bool confirmed) {
  resources_.insert({std::string(kind), name});
  batch_.put_resources.push_back({record_.uid, std::string(kind), name, attempt, digest, confirmed});
}

void Journal::Remove(absl::string_view kind, const std::string& name) {
  // The store removes before it puts: what was put earlier in this turn must not come back.
  std::vector<ResourceRecord>& puts = batch_.put_resources;
  puts.erase(std::remove_if(puts.begin(), puts.end(),
                            [&](const ResourceRecord& r) { return r.kind == kind && r.name == name; }),
             puts.end());
  batch_.remove_resources.push_back({record_.uid, std::string(kind), name});
  resources_.erase({std::string(kind), name});
}

void Journal::RemoveAll() {
  const std::set<std::pair<std::string, std::string>> all = resources_;
  for (const auto& [kind, name] : all) Remove(kind, name);
}

void Journal::Measure(const std::string& catalogue, const std::string& node, absl::Duration start_time) {
  batch_.measured.push_back({catalogue, node, start_time});
}

bool Journal::empty() const {
  return !changed_ && batch_.events.empty() && batch_.put_resources.empty() && batch_.remove_resources.empty() &&
         batch_.measured.empty() && !batch_.source.has_value();
}

absl::Status Journal::Commit() {
  if (empty()) return absl::OkStatus();
  if (changed_) batch_.environment = record_;
  if (absl::Status status = store_->Write(record_.uid, batch_); !status.ok()) return status;
  if (changed_) ++record_.etag;
  changed_ = false;
  committed_ = sequence_;
  std::vector<Event> events = std::move(batch_.events);
  batch_ = WriteBatch();
  if (!events.empty()) logs_->Append(record_.uid, std::move(events));
  return absl::OkStatus();
}

}  // namespace mayfly
