#include "server/store/tables.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/store/codec.h"

namespace mayfly {

EventTable::EventTable(Database* db, const UnreadableSink& sink)
    : sink_(sink),
      insert_(db,
              "INSERT INTO events(environment, sequence, time_ns, offset_ns, kind, detail) VALUES(?, ?, ?, ?, ?, ?)"),
      read_(db,
            "SELECT sequence, time_ns, offset_ns, kind, detail FROM events WHERE environment = ? AND sequence > ? "
            "ORDER BY sequence LIMIT ?") {}

absl::Status EventTable::Insert(int64_t environment, const Event& event) {
  return Query(insert_, environment, event.sequence, EncodeTime(event.time), EncodeDuration(event.offset),
               static_cast<int>(event.kind), EncodeEventDetail(event))
      .Run();
}

absl::StatusOr<std::vector<Event>> EventTable::Read(int64_t environment, const std::string& uid, int64_t after,
                                                    int limit) {
  Query rows(read_, environment, after, limit < 0 ? 0 : limit);
  std::vector<Event> out;
  while (rows.Next()) {
    Event event;
    event.sequence = rows.Int(0);
    event.time = DecodeTime(rows.Int(1));
    event.offset = DecodeDuration(rows.Int(2));
    event.kind = static_cast<EventKind>(rows.Int(3));
    auto whole = DecodeEventDetail(event, rows.View(4));
    if (!whole.ok()) {
      sink_({0, uid, absl::StrCat("event ", event.sequence, " of ", uid), std::string(whole.status().message())});
      event.kind = EventKind::kNote;
      event.message = absl::StrCat("this event cannot be read: ", whole.status().message());
      whole = event;
    }
    out.push_back(*std::move(whole));
  }
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return out;
}

ResourceTable::ResourceTable(Database* db)
    : put_(db,
           "INSERT OR REPLACE INTO resources(environment, kind, name, attempt, digest, confirmed) "
           "VALUES(?, ?, ?, ?, ?, ?)"),
      remove_(db, "DELETE FROM resources WHERE environment = ? AND kind = ? AND name = ?"),
      list_(db,
            "SELECT kind, name, attempt, digest, confirmed FROM resources WHERE environment = ? ORDER BY kind, name") {}

absl::Status ResourceTable::Put(int64_t environment, const ResourceRecord& resource) {
  return Query(put_, environment, resource.kind, resource.name, resource.attempt, resource.digest, resource.confirmed)
      .Run();
}

absl::Status ResourceTable::Remove(int64_t environment, const ResourceRecord& resource) {
  return Query(remove_, environment, resource.kind, resource.name).Run();
}

absl::StatusOr<std::vector<ResourceRecord>> ResourceTable::List(int64_t environment, const std::string& uid) {
  Query rows(list_, environment);
  std::vector<ResourceRecord> out;
  while (rows.Next()) {
    ResourceRecord resource;
    resource.uid = uid;
    resource.kind = rows.Text(0);
    resource.name = rows.Text(1);
    resource.attempt = static_cast<int>(rows.Int(2));
    resource.digest = rows.Text(3);
    resource.confirmed = rows.Int(4) != 0;
    out.push_back(std::move(resource));
  }
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return out;
}

SourceTable::SourceTable(Database* db)
    : put_(db, "INSERT OR REPLACE INTO sources(environment, source) VALUES(?, ?)"),
      get_(db, "SELECT source FROM sources WHERE environment = ?") {}

absl::Status SourceTable::Put(int64_t environment, const std::string& source) {
  return Query(put_, environment, source).Run();
}

absl::StatusOr<std::string> SourceTable::Get(int64_t environment) {
  Query rows(get_, environment);
  std::string source = rows.Next() ? rows.Text(0) : "";
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return source;
}

StartTimeTable::StartTimeTable(Database* db)
    : get_(db, "SELECT start_ns FROM start_times WHERE catalogue = ? AND node = ?"),
      put_(db, "INSERT OR REPLACE INTO start_times(catalogue, node, start_ns) VALUES(?, ?, ?)"),
      list_(db, "SELECT node, start_ns FROM start_times WHERE catalogue = ? ORDER BY node") {}

absl::Status StartTimeTable::Add(const WriteBatch::Measured& measured) {
  std::optional<absl::Duration> old;
  {
    Query row(get_, measured.catalogue, measured.node);
    if (row.Next()) old = DecodeDuration(row.Int(0));
    MAYFLY_RETURN_IF_ERROR(row.status());
  }
  const int64_t value = EncodeDuration(Smooth(old, measured.start_time));
  return Query(put_, measured.catalogue, measured.node, value).Run();
}

absl::StatusOr<std::vector<Store::StartTime>> StartTimeTable::List(const std::string& catalogue) {
  Query rows(list_, catalogue);
  std::vector<Store::StartTime> out;
  while (rows.Next()) out.push_back({rows.Text(0), DecodeDuration(rows.Int(1))});
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return out;
}

QuarantineTable::QuarantineTable(Database* db)
    : copy_(db,
            "INSERT OR REPLACE INTO quarantine(id, uid, name, reason, time_ns, request, cause) "
            "SELECT id, uid, name, ?2, ?3, request, cause FROM environments WHERE id = ?1"),
      drop_(db, "DELETE FROM environments WHERE id = ?"),
      list_(db, "SELECT name, uid, reason FROM quarantine ORDER BY id"),
      old_(db, "SELECT id, uid FROM environments WHERE state = 7 AND delete_ns < ? ORDER BY id"),
      old_aside_(db, "SELECT id, uid FROM quarantine WHERE time_ns < ? ORDER BY id"),
      drop_events_(db, "DELETE FROM events WHERE environment = ?"),
      drop_resources_(db, "DELETE FROM resources WHERE environment = ?"),
      drop_source_(db, "DELETE FROM sources WHERE environment = ?"),
      drop_aside_(db, "DELETE FROM quarantine WHERE id = ?") {}

absl::Status QuarantineTable::SetAside(const Unreadable& what, absl::Time now) {
  MAYFLY_RETURN_IF_ERROR(Query(copy_, what.id, what.reason, EncodeTime(now)).Run());
  return Query(drop_, what.id).Run();
}

absl::StatusOr<std::vector<std::string>> QuarantineTable::List() {
  Query rows(list_);
  std::vector<std::string> out;
  while (rows.Next()) {
    out.push_back(EscapeLine(absl::StrCat(rows.View(0), " (uid ", rows.View(1), "): ", rows.View(2))));
  }
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return out;
}

absl::StatusOr<std::vector<std::string>> QuarantineTable::Purge(absl::Time before) {
  std::vector<std::pair<int64_t, std::string>> found;
  for (Statement* statement : {&old_, &old_aside_}) {
    Query rows(*statement, EncodeTime(before));
    while (rows.Next()) found.emplace_back(rows.Int(0), rows.Text(1));
    MAYFLY_RETURN_IF_ERROR(rows.status());
  }
  std::vector<std::string> uids;
  for (auto& [id, uid] : found) {
    for (Statement* statement : {&drop_, &drop_events_, &drop_resources_, &drop_source_, &drop_aside_}) {
      MAYFLY_RETURN_IF_ERROR(Query(*statement, id).Run());
    }
    uids.push_back(std::move(uid));
  }
  return uids;
}

}  // namespace mayfly
