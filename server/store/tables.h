// The statements of each table, over one connection. The owner guards the connection and opens the transactions.
#ifndef MAYFLY_SERVER_STORE_TABLES_H_
#define MAYFLY_SERVER_STORE_TABLES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/store/database.h"
#include "server/store/rules.h"
#include "server/store/store.h"

namespace mayfly {

// A record or an event that cannot be read.
struct Unreadable {
  int64_t id = 0;  // Of the environment's row; 0 for an event, which stays where it is.
  std::string uid;
  std::string name;  // What people know it by: "checkout", "checkout event 7".
  std::string reason;
};
using UnreadableSink = std::function<void(const Unreadable&)>;

class EnvironmentTable {
 public:
  // `sink` is told of each record that cannot be read; it must outlive the table.
  EnvironmentTable(Database* db, const UnreadableSink& sink);

  // The columns that never change and those that guard a write.
  struct Row {
    int64_t id = 0;
    EnvironmentRecord identity;  // name, uid, generation, scope, etag
    int64_t last_sequence = 0;
  };
  absl::StatusOr<std::optional<Row>> FindRow(const std::string& uid);
  absl::StatusOr<std::optional<int64_t>> FindId(const std::string& uid);

  // DATA_LOSS when it is there and cannot be read.
  absl::StatusOr<std::optional<EnvironmentRecord>> FindByUid(const std::string& uid);
  absl::StatusOr<std::optional<EnvironmentRecord>> FindByRequest(const std::string& owner,
                                                                 const std::string& request_id);
  absl::StatusOr<std::optional<EnvironmentRecord>> FindLiveOrLatest(const std::string& name);
  absl::StatusOr<std::optional<std::string>> FindLiveUid(const std::string& name);
  // Those after `start`, one more than `count` when there are more. Unreadable ones are left out.
  absl::StatusOr<std::vector<EnvironmentRecord>> List(const ListFilter& filter, const PageStart& start, size_t count);
  // Reads every record that is not DELETED, for the sake of the sink.
  absl::Status CheckLive();

  absl::StatusOr<int64_t> NextGeneration(const std::string& name);
  absl::Status SkipGenerations(const std::string& name, int64_t last);
  absl::StatusOr<int64_t> Insert(const EnvironmentRecord& record);
  // Everything that may change, and etag + 1.
  absl::Status Update(int64_t id, const EnvironmentRecord& record);

 private:
  absl::StatusOr<EnvironmentRecord> Read(Query& row);
  absl::StatusOr<std::optional<EnvironmentRecord>> ReadOne(Query& row);

  Database* const db_;
  const UnreadableSink& sink_;
  Statement find_row_, find_id_, by_uid_, by_request_, by_name_, live_uid_, list_, live_, next_generation_,
      skip_generations_, insert_, update_;
};

class EventTable {
 public:
  EventTable(Database* db, const UnreadableSink& sink);
  absl::Status Insert(int64_t environment, const Event& event);
  absl::StatusOr<std::vector<Event>> Read(int64_t environment, const std::string& uid, int64_t after, int limit);

 private:
  const UnreadableSink& sink_;
  Statement insert_, read_;
};

class ResourceTable {
 public:
  explicit ResourceTable(Database* db);
  absl::Status Put(int64_t environment, const ResourceRecord& resource);
  absl::Status Remove(int64_t environment, const ResourceRecord& resource);
  absl::StatusOr<std::vector<ResourceRecord>> List(int64_t environment, const std::string& uid);

 private:
  Statement put_, remove_, list_;
};

class SourceTable {
 public:
  explicit SourceTable(Database* db);
  absl::Status Put(int64_t environment, const std::string& source);
  // Empty when there is none.
  absl::StatusOr<std::string> Get(int64_t environment);

 private:
  Statement put_, get_;
};

class StartTimeTable {
 public:
  explicit StartTimeTable(Database* db);
  absl::Status Add(const WriteBatch::Measured& measured);
  absl::StatusOr<std::vector<Store::StartTime>> List(const std::string& catalogue);

 private:
  Statement get_, put_, list_;
};

// Forgetting: by age, and setting aside what cannot be read.
class QuarantineTable {
 public:
  explicit QuarantineTable(Database* db);
  // Moves the record out of the environments; its name is free again, its events stay until they are purged.
  absl::Status SetAside(const Unreadable& what, absl::Time now);
  absl::StatusOr<std::vector<std::string>> List();
  // The uids of all that were DELETED or set aside before `before`; their rows in every table are gone.
  absl::StatusOr<std::vector<std::string>> Purge(absl::Time before);

 private:
  Statement copy_, drop_, list_, old_, old_aside_, drop_events_, drop_resources_, drop_source_, drop_aside_;
};

struct Tables {
  Tables(Database* db, const UnreadableSink& sink)
      : environments(db, sink),
        events(db, sink),
        resources(db),
        sources(db),
        start_times(db),
        quarantine(db),
        transaction(db) {}
  EnvironmentTable environments;
  EventTable events;
  ResourceTable resources;
  SourceTable sources;
  StartTimeTable start_times;
  QuarantineTable quarantine;
  Transaction::Statements transaction;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_TABLES_H_
