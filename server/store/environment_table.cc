#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/store/codec.h"
#include "server/store/tables.h"

namespace mayfly {
namespace {

#define MAYFLY_COLUMNS                                                                                    \
  "SELECT id, uid, name, generation, scope, state, verdict, create_ns, update_ns, expire_ns, delete_ns, " \
  "delete_requested, etag, request, cause FROM environments "

std::optional<std::string> NullIfEmpty(const std::string& text) {
  return text.empty() ? std::nullopt : std::make_optional(text);
}

// One bit per state.
int64_t StateMask(const ListFilter& filter) {
  int64_t mask = 0;
  for (const EnvironmentState state : filter.states) mask |= int64_t{1} << static_cast<int>(state);
  if (filter.states.empty()) mask = 0xFF;
  if (!filter.include_deleted) mask &= ~(int64_t{1} << static_cast<int>(EnvironmentState::kDeleted));
  return mask;
}

}  // namespace

EnvironmentTable::EnvironmentTable(Database* db, const UnreadableSink& sink)
    : db_(db),
      sink_(sink),
      find_row_(db,
                "SELECT id, name, generation, scope, etag, (SELECT max(sequence) FROM events WHERE environment = id) "
                "FROM environments WHERE uid = ?"),
      find_id_(db, "SELECT id FROM environments WHERE uid = ?"),
      by_uid_(db, MAYFLY_COLUMNS "WHERE uid = ?"),
      by_request_(db, MAYFLY_COLUMNS "WHERE owner = ? AND request_id = ?"),
      by_name_(db, MAYFLY_COLUMNS "WHERE name = ? ORDER BY state <> 7 DESC, generation DESC LIMIT 1"),
      live_uid_(db, "SELECT uid FROM environments WHERE name = ? AND state <> 7"),
      list_(db, MAYFLY_COLUMNS
            "WHERE (name, generation) > (?1, ?2) AND name >= ?3 AND (?4 >> state) & 1 AND (?5 = '' OR owner = ?5) "
            "ORDER BY name, generation"),
      live_(db, MAYFLY_COLUMNS "WHERE state <> 7"),
      next_generation_(db,
                       "INSERT INTO names(name, generation) VALUES(?, 1) "
                       "ON CONFLICT DO UPDATE SET generation = generation + 1 RETURNING generation"),
      skip_generations_(db,
                        "INSERT INTO names(name, generation) VALUES(?, ?) "
                        "ON CONFLICT DO UPDATE SET generation = max(generation, excluded.generation)"),
      insert_(db,
              "INSERT INTO environments(uid, name, generation, scope, state, verdict, create_ns, update_ns, expire_ns, "
              "delete_ns, delete_requested, etag, owner, request_id, request, cause) "
              "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
      update_(db,
              "UPDATE environments SET state = ?2, verdict = ?3, update_ns = ?4, expire_ns = ?5, delete_ns = ?6, "
              "delete_requested = ?7, etag = etag + 1, request = ?8, cause = ?9 WHERE id = ?1") {}

absl::StatusOr<EnvironmentRecord> EnvironmentTable::Read(Query& row) {
  EnvironmentRecord record;
  record.uid = row.Text(1);
  record.name = row.Text(2);
  record.generation = row.Int(3);
  record.scope = row.Text(4);
  record.state = static_cast<EnvironmentState>(row.Int(5));
  record.verdict = static_cast<Verdict>(row.Int(6));
  record.create_time = DecodeTime(row.Int(7));
  record.update_time = DecodeTime(row.Int(8));
  record.expire_time = DecodeTime(row.Int(9));
  record.delete_time = DecodeTime(row.Int(10));
  record.delete_requested = row.Int(11) != 0;
  record.etag = row.Int(12);
  absl::Status status;
  if (record.state < EnvironmentState::kCreating || record.state > EnvironmentState::kDeleted) {
    status = absl::DataLossError(absl::StrCat("state ", row.Int(5), " is not known to this version"));
  } else if (record.verdict < Verdict::kNone || record.verdict > Verdict::kCancelled) {
    status = absl::DataLossError(absl::StrCat("verdict ", row.Int(6), " is not known to this version"));
  }
  auto request = DecodeRequest(row.View(13));
  auto cause = DecodeCause(row.View(14));
  if (status.ok()) status = request.status();
  if (status.ok()) status = cause.status();
  if (status.ok()) {
    record.request = *std::move(request);
    record.cause = *std::move(cause);
    return record;
  }
  sink_({row.Int(0), record.uid, record.name, std::string(status.message())});
  return absl::DataLossError(absl::StrCat("the record of environment '", EscapeLine(record.name), "' (uid ",
                                          EscapeLine(record.uid),
                                          ") cannot be read and is set aside: ", status.message()));
}

absl::StatusOr<std::optional<EnvironmentRecord>> EnvironmentTable::ReadOne(Query& row) {
  if (!row.Next()) {
    MAYFLY_RETURN_IF_ERROR(row.status());
    return std::optional<EnvironmentRecord>();
  }
  MAYFLY_ASSIGN_OR_RETURN(EnvironmentRecord record, Read(row));
  return std::make_optional(std::move(record));
}

absl::StatusOr<std::optional<EnvironmentTable::Row>> EnvironmentTable::FindRow(const std::string& uid) {
  Query row(find_row_, uid);
  std::optional<Row> out;
  if (row.Next()) {
    out.emplace();
    out->id = row.Int(0);
    out->identity.uid = uid;
    out->identity.name = row.Text(1);
    out->identity.generation = row.Int(2);
    out->identity.scope = row.Text(3);
    out->identity.etag = row.Int(4);
    out->last_sequence = row.Int(5);  // NULL reads as 0.
  }
  MAYFLY_RETURN_IF_ERROR(row.status());
  return out;
}

absl::StatusOr<std::optional<int64_t>> EnvironmentTable::FindId(const std::string& uid) {
  Query row(find_id_, uid);
  std::optional<int64_t> out;
  if (row.Next()) out = row.Int(0);
  MAYFLY_RETURN_IF_ERROR(row.status());
  return out;
}

absl::StatusOr<std::optional<EnvironmentRecord>> EnvironmentTable::FindByUid(const std::string& uid) {
  Query row(by_uid_, uid);
  return ReadOne(row);
}

absl::StatusOr<std::optional<EnvironmentRecord>> EnvironmentTable::FindByRequest(const std::string& owner,
                                                                                 const std::string& request_id) {
  Query row(by_request_, owner, request_id);
  return ReadOne(row);
}

absl::StatusOr<std::optional<EnvironmentRecord>> EnvironmentTable::FindLiveOrLatest(const std::string& name) {
  Query row(by_name_, name);
  return ReadOne(row);
}

absl::StatusOr<std::optional<std::string>> EnvironmentTable::FindLiveUid(const std::string& name) {
  Query row(live_uid_, name);
  std::optional<std::string> out;
  if (row.Next()) out = row.Text(0);
  MAYFLY_RETURN_IF_ERROR(row.status());
  return out;
}

absl::StatusOr<std::vector<EnvironmentRecord>> EnvironmentTable::List(const ListFilter& filter, const PageStart& start,
                                                                      size_t count) {
  Query rows(list_, start.name, start.generation, filter.name_prefix, StateMask(filter), filter.owner);
  std::vector<EnvironmentRecord> out;
  // Names with a common prefix are neighbours: the first without it ends the list.
  while (out.size() <= count && rows.Next() && absl::StartsWith(rows.View(2), filter.name_prefix)) {
    auto record = Read(rows);
    if (record.ok()) out.push_back(*std::move(record));
  }
  MAYFLY_RETURN_IF_ERROR(rows.status());
  return out;
}

absl::Status EnvironmentTable::CheckLive() {
  Query rows(live_);
  while (rows.Next()) Read(rows).IgnoreError();
  return rows.status();
}

absl::StatusOr<int64_t> EnvironmentTable::NextGeneration(const std::string& name) {
  Query row(next_generation_, name);
  int64_t generation = 0;
  // Stepped to the end: RETURNING is done only then.
  while (row.Next()) generation = row.Int(0);
  MAYFLY_RETURN_IF_ERROR(row.status());
  return generation;
}

absl::Status EnvironmentTable::SkipGenerations(const std::string& name, int64_t last) {
  return Query(skip_generations_, name, last).Run();
}

absl::StatusOr<int64_t> EnvironmentTable::Insert(const EnvironmentRecord& r) {
  MAYFLY_RETURN_IF_ERROR(Query(insert_, r.uid, r.name, r.generation, r.scope, static_cast<int>(r.state),
                               static_cast<int>(r.verdict), EncodeTime(r.create_time), EncodeTime(r.update_time),
                               EncodeTime(r.expire_time), EncodeTime(r.delete_time), r.delete_requested, r.etag,
                               r.request.owner, NullIfEmpty(r.request.request_id), EncodeRequest(r.request),
                               EncodeCause(r.cause))
                             .Run());
  return db_->last_insert_id();
}

absl::Status EnvironmentTable::Update(int64_t id, const EnvironmentRecord& r) {
  return Query(update_, id, static_cast<int>(r.state), static_cast<int>(r.verdict), EncodeTime(r.update_time),
               EncodeTime(r.expire_time), EncodeTime(r.delete_time), r.delete_requested, EncodeRequest(r.request),
               EncodeCause(r.cause))
      .Run();
}

#undef MAYFLY_COLUMNS

}  // namespace mayfly
