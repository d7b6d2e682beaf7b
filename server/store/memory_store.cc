#include "server/store/memory_store.h"

#include <algorithm>
#include <optional>

#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "server/store/rules.h"

namespace mayfly {

void MemoryStore::FailWrites(absl::Status status) {
  MutexLock lock(mutex_);
  fail_ = std::move(status);
}

const EnvironmentRecord* MemoryStore::FindLive(const std::string& name) const {
  for (const auto& [uid, entry] : by_uid_) {
    if (entry.record.name == name && entry.record.state != EnvironmentState::kDeleted) return &entry.record;
  }
  return nullptr;
}

absl::StatusOr<Store::Created> MemoryStore::CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) {
  MAYFLY_RETURN_IF_ERROR(CheckNewRecord(record));
  MAYFLY_RETURN_IF_ERROR(CheckSequence(events, 0));
  MutexLock lock(mutex_);
  MAYFLY_RETURN_IF_ERROR(fail_);
  if (!record.request.request_id.empty()) {
    for (const auto& [uid, entry] : by_uid_) {
      const EnvironmentRequest& request = entry.record.request;
      if (request.request_id == record.request.request_id && request.owner == record.request.owner) {
        return Created{entry.record, false};
      }
    }
  }
  if (const EnvironmentRecord* live = FindLive(record.name); live != nullptr) return NameTaken(record.name, live->uid);
  if (by_uid_.count(record.uid) > 0) return NameTaken(record.name, record.uid);
  record.generation = ++generations_[record.name];
  record.scope = ScopeId(installation_, record.name, record.generation);
  record.etag = 1;
  record.request.secrets.clear();
  by_uid_[record.uid] = Entry{record, std::move(events), {}, ""};
  return Created{std::move(record), true};
}

absl::Status MemoryStore::Write(const std::string& uid, const WriteBatch& batch) {
  MutexLock lock(mutex_);
  MAYFLY_RETURN_IF_ERROR(fail_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return NoSuchUid(uid);
  Entry& entry = it->second;
  // All checks come before the first change, so that a refused batch changes nothing.
  MAYFLY_RETURN_IF_ERROR(CheckSequence(batch.events, entry.events.size()));
  if (batch.environment.has_value()) {
    const EnvironmentRecord& record = *batch.environment;
    MAYFLY_RETURN_IF_ERROR(CheckSameEnvironment(entry.record, record));
    if (record.etag != entry.record.etag) return StaleEtag(entry.record, record.etag);
    entry.record = record;
    entry.record.etag++;
    entry.record.request.secrets.clear();
  }
  entry.events.insert(entry.events.end(), batch.events.begin(), batch.events.end());
  for (const ResourceRecord& resource : batch.remove_resources) entry.resources.erase({resource.kind, resource.name});
  for (ResourceRecord resource : batch.put_resources) {
    resource.uid = uid;
    entry.resources[{resource.kind, resource.name}] = std::move(resource);
  }
  if (batch.source.has_value()) entry.source = *batch.source;
  for (const WriteBatch::Measured& measured : batch.measured) {
    const auto key = std::make_pair(measured.catalogue, measured.node);
    const auto old = start_times_.find(key);
    start_times_[key] =
        Smooth(old == start_times_.end() ? std::nullopt : std::make_optional(old->second), measured.start_time);
  }
  return absl::OkStatus();
}

absl::StatusOr<EnvironmentRecord> MemoryStore::GetEnvironment(const std::string& name) {
  MutexLock lock(mutex_);
  if (const EnvironmentRecord* live = FindLive(name); live != nullptr) return *live;
  const EnvironmentRecord* latest = nullptr;
  for (const auto& [uid, entry] : by_uid_) {
    if (entry.record.name != name) continue;
    if (latest == nullptr || entry.record.generation > latest->generation) latest = &entry.record;
  }
  if (latest == nullptr) return NoSuchName(name);
  return *latest;
}

absl::StatusOr<EnvironmentRecord> MemoryStore::GetByUid(const std::string& uid) {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return NoSuchUid(uid);
  return it->second.record;
}

absl::StatusOr<Store::Page> MemoryStore::ListEnvironments(const ListFilter& filter, int page_size,
                                                          const std::string& page_token) {
  MAYFLY_ASSIGN_OR_RETURN(const PageStart start, ParsePageToken(page_token));
  MutexLock lock(mutex_);
  std::vector<EnvironmentRecord> found;
  for (const auto& [uid, entry] : by_uid_) {
    const EnvironmentRecord& r = entry.record;
    if (std::tie(r.name, r.generation) > std::tie(start.name, start.generation) && Matches(filter, r))
      found.push_back(r);
  }
  std::sort(found.begin(), found.end(), [](const EnvironmentRecord& a, const EnvironmentRecord& b) {
    return std::tie(a.name, a.generation) < std::tie(b.name, b.generation);
  });
  Page page;
  const size_t size = EffectivePageSize(page_size);
  if (found.size() > size) {
    found.resize(size);
    page.next_page_token = PageToken(found.back());
  }
  page.environments = std::move(found);
  return page;
}

absl::StatusOr<std::vector<Event>> MemoryStore::ReadEvents(const std::string& uid, int64_t after, int limit) {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return NoSuchUid(uid);
  const std::vector<Event>& events = it->second.events;
  const int64_t count = static_cast<int64_t>(events.size());
  const int64_t from = std::clamp<int64_t>(after, 0, count);
  const int64_t to = std::min<int64_t>(count, from + std::max(limit, 0));
  return std::vector<Event>(events.begin() + from, events.begin() + to);
}

absl::StatusOr<std::string> MemoryStore::ReadSource(const std::string& uid) {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return NoSuchUid(uid);
  return it->second.source;
}

absl::StatusOr<std::vector<ResourceRecord>> MemoryStore::ListResources(const std::string& uid) {
  MutexLock lock(mutex_);
  const auto it = by_uid_.find(uid);
  if (it == by_uid_.end()) return NoSuchUid(uid);
  std::vector<ResourceRecord> out;
  for (const auto& [key, resource] : it->second.resources) out.push_back(resource);
  return out;
}

absl::StatusOr<std::vector<Store::StartTime>> MemoryStore::StartTimes(const std::string& catalogue) {
  MutexLock lock(mutex_);
  std::vector<StartTime> out;
  for (const auto& [key, duration] : start_times_) {
    if (key.first == catalogue) out.push_back({key.second, duration});
  }
  return out;
}

absl::StatusOr<std::vector<std::string>> MemoryStore::Purge(absl::Time before) {
  MutexLock lock(mutex_);
  MAYFLY_RETURN_IF_ERROR(fail_);
  std::vector<std::string> purged;
  for (auto it = by_uid_.begin(); it != by_uid_.end();) {
    const EnvironmentRecord& record = it->second.record;
    const bool forget = record.state == EnvironmentState::kDeleted && record.delete_time < before;
    if (forget) purged.push_back(record.uid);
    it = forget ? by_uid_.erase(it) : std::next(it);
  }
  return purged;
}

absl::Status MemoryStore::SkipGenerations(const std::string& name, int64_t last) {
  MutexLock lock(mutex_);
  MAYFLY_RETURN_IF_ERROR(fail_);
  generations_[name] = std::max(generations_[name], last);
  return absl::OkStatus();
}

}  // namespace mayfly
