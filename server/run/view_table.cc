#include "server/run/view_table.h"

#include <algorithm>
#include <utility>

#include "mayfly/base/status.h"
#include "server/run/recovery.h"

namespace mayfly {
namespace {

constexpr size_t kDeletedInMemory = 64;

}  // namespace

EnvironmentView ViewFromEvents(EnvironmentRecord record, const std::vector<Event>& events) {
  Fold fold = FoldEvents(events);
  EnvironmentView view;
  view.record = std::move(record);
  view.catalogue = fold.catalogue;
  view.last_sequence = fold.last_sequence;
  view.ending = fold.ending;
  view.held = fold.held;
  view.gone_time = fold.gone_time;
  for (PlannedNode& planned : fold.plan) {
    NodeView& node = view.nodes.emplace_back();
    const NodePast& past = fold.nodes[planned.name];
    node.planned = std::move(planned);
    node.state = past.state;
    node.attempt = past.launched == -absl::InfiniteDuration() ? 0 : past.attempt;
    node.start_time = past.start_time;
    node.usage = past.usage;
    node.cause = past.cause;
    node.message = past.message;
    node.endpoints = past.endpoints;
  }
  return view;
}

absl::StatusOr<std::vector<Event>> ReadAllEvents(Store& store, const std::string& uid) {
  std::vector<Event> all;
  while (true) {
    MAYFLY_ASSIGN_OR_RETURN(std::vector<Event> page,
                            store.ReadEvents(uid, all.empty() ? 0 : all.back().sequence, 1000));
    if (page.empty()) return all;
    std::move(page.begin(), page.end(), std::back_inserter(all));
  }
}

void ViewTable::Put(EnvironmentViewRef view) {
  EnvironmentViewRef old;  // Destroyed outside the lock.
  MutexLock lock(mutex_);
  const EnvironmentRecord& record = view->record;
  EnvironmentViewRef& slot = by_uid_[record.uid];
  const bool was_deleted = slot != nullptr && slot->record.state == EnvironmentState::kDeleted;
  old = std::exchange(slot, view);
  if (record.state != EnvironmentState::kDeleted) {
    live_by_name_[record.name] = record.uid;
    return;
  }
  const auto live = live_by_name_.find(record.name);
  if (live != live_by_name_.end() && live->second == record.uid) live_by_name_.erase(live);
  if (was_deleted) return;
  deleted_.push_back(record.uid);
  if (deleted_.size() <= kDeletedInMemory) return;
  by_uid_.erase(deleted_.front());
  deleted_.pop_front();
}

EnvironmentViewRef ViewTable::Find(const std::string& uid) const {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  return it == by_uid_.end() ? nullptr : it->second;
}

absl::StatusOr<EnvironmentViewRef> ViewTable::FromStore(absl::StatusOr<EnvironmentRecord> record) const {
  if (!record.ok()) return record.status();
  if (EnvironmentViewRef known = Find(record->uid); known != nullptr) return known;
  MAYFLY_ASSIGN_OR_RETURN(const std::vector<Event> events, ReadAllEvents(*store_, record->uid));
  return std::make_shared<const EnvironmentView>(ViewFromEvents(*std::move(record), events));
}

absl::StatusOr<EnvironmentViewRef> ViewTable::Get(const std::string& name) const {
  {
    MutexLock lock(mutex_);
    const auto live = live_by_name_.find(name);
    if (live != live_by_name_.end()) return by_uid_.find(live->second)->second;
  }
  return FromStore(store_->GetEnvironment(name));
}

absl::StatusOr<EnvironmentViewRef> ViewTable::GetByUid(const std::string& uid) const {
  if (EnvironmentViewRef known = Find(uid); known != nullptr) return known;
  return FromStore(store_->GetByUid(uid));
}

absl::StatusOr<Provisioner::ViewPage> ViewTable::List(const ListFilter& filter, int page_size,
                                                      const std::string& page_token) const {
  MAYFLY_ASSIGN_OR_RETURN(Store::Page stored, store_->ListEnvironments(filter, page_size, page_token));
  Provisioner::ViewPage page;
  page.next_page_token = std::move(stored.next_page_token);
  for (EnvironmentRecord& record : stored.environments) {
    EnvironmentViewRef view = Find(record.uid);
    if (view == nullptr) {
      auto bare = std::make_shared<EnvironmentView>();
      bare->record = std::move(record);
      view = std::move(bare);
    }
    page.environments.push_back(std::move(view));
  }
  return page;
}

int ViewTable::live() const {
  MutexLock lock(mutex_);
  return static_cast<int>(live_by_name_.size());
}

}  // namespace mayfly
