#include "server/store/sqlite_store.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/mutex.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "server/store/checkpointer.h"
#include "server/store/database.h"
#include "server/store/disk_reserve.h"
#include "server/store/installation.h"
#include "server/store/rules.h"
#include "server/store/schema.h"
#include "server/store/state_lock.h"
#include "server/store/tables.h"

namespace mayfly {
namespace {

// What was found unreadable and is not set aside in the database yet. Thread-safe.
class FoundUnreadable {
 public:
  FoundUnreadable() : sink_([this](const Unreadable& what) { Add(what); }) {}
  const UnreadableSink& sink() const { return sink_; }

  std::vector<Unreadable> Records() {
    MutexLock lock(mutex_);
    std::vector<Unreadable> out;
    for (const auto& [name, what] : found_) {
      if (what.id != 0) out.push_back(what);
    }
    return out;
  }
  void Forget(const Unreadable& what) {
    MutexLock lock(mutex_);
    found_.erase(Key(what));
  }
  std::vector<std::string> Names() {
    MutexLock lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [key, what] : found_) out.push_back(EscapeLine(absl::StrCat(what.name, ": ", what.reason)));
    return out;
  }

 private:
  // A watcher may read the same broken event for ever.
  static constexpr size_t kMost = 1000;
  static std::string Key(const Unreadable& what) { return absl::StrCat(what.id, "/", what.name); }
  void Add(const Unreadable& what) {
    MutexLock lock(mutex_);
    if (found_.size() < kMost) found_.emplace(Key(what), what);
  }

  const UnreadableSink sink_;
  Mutex mutex_;
  std::map<std::string, Unreadable> found_ ABSL_GUARDED_BY(mutex_);
};

// A connection with its statements, and the lock that makes it usable from any thread.
struct Connection {
  Connection(std::unique_ptr<Database> database, const UnreadableSink& sink)
      : db(std::move(database)), tables(db.get(), sink) {}
  Mutex mutex;
  const std::unique_ptr<Database> db;
  Tables tables ABSL_GUARDED_BY(mutex);
};

class SqliteStore final : public Store {
 public:
  SqliteStore(std::unique_ptr<StateLock> lock, const std::string& state_dir, std::string installation,
              std::unique_ptr<Database> writer, std::unique_ptr<Database> reader,
              std::unique_ptr<Checkpointer> checkpointer)
      : lock_(std::move(lock)),
        installation_(std::move(installation)),
        writer_(std::move(writer), found_.sink()),
        reader_(std::move(reader), found_.sink()),
        reserve_(absl::StrCat(state_dir, "/reserve")),
        checkpointer_(std::move(checkpointer)) {}

  // Reads all that is alive and sets aside what cannot be read.
  absl::Status Check();

  const std::string& installation() const override { return installation_; }
  absl::StatusOr<Created> CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) override;
  absl::Status Write(const std::string& uid, const WriteBatch& batch) override;
  absl::StatusOr<EnvironmentRecord> GetEnvironment(const std::string& name) override;
  absl::StatusOr<EnvironmentRecord> GetByUid(const std::string& uid) override;
  absl::StatusOr<Page> ListEnvironments(const ListFilter& filter, int page_size,
                                        const std::string& page_token) override;
  absl::StatusOr<std::vector<Event>> ReadEvents(const std::string& uid, int64_t after, int limit) override;
  absl::StatusOr<std::string> ReadSource(const std::string& uid) override;
  absl::StatusOr<std::vector<ResourceRecord>> ListResources(const std::string& uid) override;
  absl::StatusOr<std::vector<StartTime>> StartTimes(const std::string& catalogue) override;
  absl::StatusOr<std::vector<std::string>> Purge(absl::Time before) override;
  absl::Status SkipGenerations(const std::string& name, int64_t last) override;
  absl::StatusOr<std::vector<std::string>> Quarantined() override;

 private:
  absl::StatusOr<Created> CreateOnce(EnvironmentRecord record, const std::vector<Event>& events)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_.mutex);
  absl::Status WriteOnce(const std::string& uid, const WriteBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_.mutex);
  absl::Status SetAsideFound() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_.mutex);
  // The write-ahead log takes most of what a store takes; moved into the database, its space is free for more.
  bool EmptiedLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_.mutex) {
    return writer_.db->Exec("PRAGMA wal_checkpoint(TRUNCATE)").ok();
  }

  const std::unique_ptr<StateLock> lock_;  // First: let go last.
  const std::string installation_;
  FoundUnreadable found_;
  Connection writer_;
  Connection reader_;
  DiskReserve reserve_ ABSL_GUARDED_BY(writer_.mutex);
  const std::unique_ptr<Checkpointer> checkpointer_;  // Last: it listens to the writer.
};

absl::Status SqliteStore::Check() {
  MutexLock lock(writer_.mutex);
  MAYFLY_RETURN_IF_ERROR(writer_.tables.environments.CheckLive());
  // The server can do without it: on a full disk they stay where they are and are reported all the same.
  SetAsideFound().IgnoreError();
  reserve_.Hold();
  return absl::OkStatus();
}

absl::Status SqliteStore::SetAsideFound() {
  const std::vector<Unreadable> records = found_.Records();
  if (records.empty()) return absl::OkStatus();
  Transaction transaction(writer_.tables.transaction);
  MAYFLY_RETURN_IF_ERROR(transaction.status());
  for (const Unreadable& what : records) {
    MAYFLY_RETURN_IF_ERROR(writer_.tables.quarantine.SetAside(what, absl::Now()));
  }
  MAYFLY_RETURN_IF_ERROR(transaction.Commit());
  for (const Unreadable& what : records) found_.Forget(what);
  return absl::OkStatus();
}

absl::StatusOr<Store::Created> SqliteStore::CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) {
  MAYFLY_RETURN_IF_ERROR(CheckNewRecord(record));
  MAYFLY_RETURN_IF_ERROR(CheckSequence(events, 0));
  MutexLock lock(writer_.mutex);
  MAYFLY_RETURN_IF_ERROR(SetAsideFound());
  auto created = CreateOnce(record, events);
  if (absl::IsResourceExhausted(created.status()) && EmptiedLog()) created = CreateOnce(std::move(record), events);
  return created;
}

absl::StatusOr<Store::Created> SqliteStore::CreateOnce(EnvironmentRecord record, const std::vector<Event>& events) {
  Tables& tables = writer_.tables;
  Transaction transaction(tables.transaction);
  MAYFLY_RETURN_IF_ERROR(transaction.status());
  if (!record.request.request_id.empty()) {
    MAYFLY_ASSIGN_OR_RETURN(auto known,
                            tables.environments.FindByRequest(record.request.owner, record.request.request_id));
    if (known.has_value()) return Created{*std::move(known), false};
  }
  MAYFLY_ASSIGN_OR_RETURN(const auto live, tables.environments.FindLiveUid(record.name));
  if (live.has_value()) return NameTaken(record.name, *live);
  MAYFLY_ASSIGN_OR_RETURN(const auto same_uid, tables.environments.FindId(record.uid));
  if (same_uid.has_value()) return NameTaken(record.name, record.uid);
  MAYFLY_ASSIGN_OR_RETURN(record.generation, tables.environments.NextGeneration(record.name));
  record.scope = ScopeId(installation_, record.name, record.generation);
  record.etag = 1;
  record.request.secrets.clear();
  MAYFLY_ASSIGN_OR_RETURN(const int64_t id, tables.environments.Insert(record));
  for (const Event& event : events) MAYFLY_RETURN_IF_ERROR(tables.events.Insert(id, event));
  MAYFLY_RETURN_IF_ERROR(transaction.Commit());
  return Created{std::move(record), true};
}

absl::Status SqliteStore::Write(const std::string& uid, const WriteBatch& batch) {
  MutexLock lock(writer_.mutex);
  absl::Status status = WriteOnce(uid, batch);
  if (absl::IsResourceExhausted(status) && EmptiedLog()) status = WriteOnce(uid, batch);
  // What exists may go on to its end; Create stays refused until there is space again.
  if (absl::IsResourceExhausted(status) && reserve_.Release()) {
    EmptiedLog();
    status = WriteOnce(uid, batch);
  }
  return status;
}

absl::Status SqliteStore::WriteOnce(const std::string& uid, const WriteBatch& batch) {
  Tables& tables = writer_.tables;
  Transaction transaction(tables.transaction);
  MAYFLY_RETURN_IF_ERROR(transaction.status());
  MAYFLY_ASSIGN_OR_RETURN(const auto row, tables.environments.FindRow(uid));
  if (!row.has_value()) return NoSuchUid(uid);
  MAYFLY_RETURN_IF_ERROR(CheckSequence(batch.events, row->last_sequence));
  if (batch.environment.has_value()) {
    MAYFLY_RETURN_IF_ERROR(CheckSameEnvironment(row->identity, *batch.environment));
    if (batch.environment->etag != row->identity.etag) return StaleEtag(row->identity, batch.environment->etag);
    MAYFLY_RETURN_IF_ERROR(tables.environments.Update(row->id, *batch.environment));
  }
  for (const Event& event : batch.events) MAYFLY_RETURN_IF_ERROR(tables.events.Insert(row->id, event));
  for (const ResourceRecord& resource : batch.remove_resources) {
    MAYFLY_RETURN_IF_ERROR(tables.resources.Remove(row->id, resource));
  }
  for (const ResourceRecord& resource : batch.put_resources) {
    MAYFLY_RETURN_IF_ERROR(tables.resources.Put(row->id, resource));
  }
  for (const WriteBatch::Measured& measured : batch.measured) {
    MAYFLY_RETURN_IF_ERROR(tables.start_times.Add(measured));
  }
  if (batch.source.has_value()) MAYFLY_RETURN_IF_ERROR(tables.sources.Put(row->id, *batch.source));
  return transaction.Commit();
}

absl::StatusOr<EnvironmentRecord> SqliteStore::GetEnvironment(const std::string& name) {
  MutexLock lock(reader_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(auto record, reader_.tables.environments.FindLiveOrLatest(name));
  if (!record.has_value()) return NoSuchName(name);
  return *std::move(record);
}

absl::StatusOr<EnvironmentRecord> SqliteStore::GetByUid(const std::string& uid) {
  MutexLock lock(reader_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(auto record, reader_.tables.environments.FindByUid(uid));
  if (!record.has_value()) return NoSuchUid(uid);
  return *std::move(record);
}

absl::StatusOr<Store::Page> SqliteStore::ListEnvironments(const ListFilter& filter, int page_size,
                                                          const std::string& page_token) {
  MAYFLY_ASSIGN_OR_RETURN(const PageStart start, ParsePageToken(page_token));
  const size_t size = EffectivePageSize(page_size);
  MutexLock lock(reader_.mutex);
  Page page;
  MAYFLY_ASSIGN_OR_RETURN(page.environments, reader_.tables.environments.List(filter, start, size));
  if (page.environments.size() > size) {
    page.environments.resize(size);
    page.next_page_token = PageToken(page.environments.back());
  }
  return page;
}

absl::StatusOr<std::vector<Event>> SqliteStore::ReadEvents(const std::string& uid, int64_t after, int limit) {
  MutexLock lock(reader_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(const auto id, reader_.tables.environments.FindId(uid));
  if (!id.has_value()) return NoSuchUid(uid);
  return reader_.tables.events.Read(*id, uid, after, limit);
}

absl::StatusOr<std::string> SqliteStore::ReadSource(const std::string& uid) {
  MutexLock lock(reader_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(const auto id, reader_.tables.environments.FindId(uid));
  if (!id.has_value()) return NoSuchUid(uid);
  return reader_.tables.sources.Get(*id);
}

absl::StatusOr<std::vector<ResourceRecord>> SqliteStore::ListResources(const std::string& uid) {
  MutexLock lock(writer_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(const auto id, writer_.tables.environments.FindId(uid));
  if (!id.has_value()) return NoSuchUid(uid);
  return writer_.tables.resources.List(*id, uid);
}

absl::StatusOr<std::vector<Store::StartTime>> SqliteStore::StartTimes(const std::string& catalogue) {
  MutexLock lock(writer_.mutex);
  return writer_.tables.start_times.List(catalogue);
}

absl::StatusOr<std::vector<std::string>> SqliteStore::Purge(absl::Time before) {
  MutexLock lock(writer_.mutex);
  MAYFLY_RETURN_IF_ERROR(SetAsideFound());
  Transaction transaction(writer_.tables.transaction);
  MAYFLY_RETURN_IF_ERROR(transaction.status());
  MAYFLY_ASSIGN_OR_RETURN(std::vector<std::string> uids, writer_.tables.quarantine.Purge(before));
  MAYFLY_RETURN_IF_ERROR(transaction.Commit());
  reserve_.Hold();
  return uids;
}

absl::Status SqliteStore::SkipGenerations(const std::string& name, int64_t last) {
  MutexLock lock(writer_.mutex);
  return writer_.tables.environments.SkipGenerations(name, last);
}

absl::StatusOr<std::vector<std::string>> SqliteStore::Quarantined() {
  MutexLock lock(writer_.mutex);
  MAYFLY_ASSIGN_OR_RETURN(std::vector<std::string> out, writer_.tables.quarantine.List());
  for (std::string& name : found_.Names()) out.push_back(std::move(name));
  return out;
}

absl::Status SetUp(Database* db, const SqliteStoreOptions& options) {
  MAYFLY_ASSIGN_OR_RETURN(const auto mode, db->QueryText("PRAGMA journal_mode = WAL"));
  if (mode != "wal") {
    return absl::FailedPreconditionError(
        "the state folder's file system cannot hold a database with a write-ahead log "
        "(a network share?): use another --state-dir");
  }
  MAYFLY_RETURN_IF_ERROR(db->Exec(options.sync_full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"));
  // The checkpointer does it; and what a burst made of the log is given back.
  MAYFLY_RETURN_IF_ERROR(db->Exec("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 16777216;"));
  if (options.max_bytes > 0) {
    MAYFLY_ASSIGN_OR_RETURN(const auto page_size, db->QueryInt("PRAGMA page_size"));
    MAYFLY_RETURN_IF_ERROR(
        db->Exec(absl::StrCat("PRAGMA max_page_count = ", std::max<int64_t>(1, options.max_bytes / *page_size))));
  }
  return Migrate(db);
}

// The file's, or else the database's, which is older than the file, or else a new one; the file has it first, because
// scopes are named after it.
absl::StatusOr<std::string> Installation(const std::string& state_dir, Database* db) {
  MAYFLY_ASSIGN_OR_RETURN(std::optional<std::string> id, ReadInstallation(state_dir));
  MAYFLY_ASSIGN_OR_RETURN(const std::optional<std::string> recorded,
                          db->QueryText("SELECT value FROM meta WHERE key = 'installation'"));
  if (!id.has_value()) {
    id = recorded.has_value() ? *recorded : NewUuid();
    MAYFLY_RETURN_IF_ERROR(WriteInstallation(state_dir, *id));
  }
  if (id != recorded) {
    Statement statement(db, "INSERT OR REPLACE INTO meta(key, value) VALUES('installation', ?)");
    MAYFLY_RETURN_IF_ERROR(Query(statement, *id).Run());
  }
  return *std::move(id);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& state_dir, SqliteStoreOptions options,
                                                       std::unique_ptr<StateLock> lock) {
  if (lock == nullptr) {
    MAYFLY_ASSIGN_OR_RETURN(lock, StateLock::Acquire(state_dir));
  }
  const std::string path = absl::StrCat(state_dir, "/mayfly.db");
  MAYFLY_ASSIGN_OR_RETURN(std::unique_ptr<Database> writer, Database::Open(path, Database::Mode::kCreate));
  MAYFLY_RETURN_IF_ERROR(SetUp(writer.get(), options));
  MAYFLY_ASSIGN_OR_RETURN(std::string installation, Installation(state_dir, writer.get()));
  MAYFLY_ASSIGN_OR_RETURN(std::unique_ptr<Database> reader, Database::Open(path, Database::Mode::kReadOnly));
  MAYFLY_ASSIGN_OR_RETURN(std::unique_ptr<Checkpointer> checkpointer, Checkpointer::Start(path, writer.get()));
  auto store = std::make_unique<SqliteStore>(std::move(lock), state_dir, std::move(installation), std::move(writer),
                                             std::move(reader), std::move(checkpointer));
  MAYFLY_RETURN_IF_ERROR(store->Check());
  return store;
}

}  // namespace mayfly
