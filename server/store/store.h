// Durable records: environments, what was made for them, their events, and start-time statistics. A record is durable
// before anything exists outside; what is not in here does not exist.
//
// Every call is synchronous and takes well under a millisecond on the embedded store. Calls come from one thread (the
// run loop's); the read-only calls marked "any thread" may come from others. Errors: NOT_FOUND, ALREADY_EXISTS, ABORTED
// (etag), RESOURCE_EXHAUSTED (disk full; what was stored before is intact), DATA_LOSS (a record that cannot be read; it
// is quarantined and the others go on), FAILED_PRECONDITION (the state folder is held by another server: its pid and
// start are in the message).
#ifndef MAYFLY_SERVER_STORE_STORE_H_
#define MAYFLY_SERVER_STORE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mayfly/report/event.h"
#include "mayfly/spec/environment_request.h"

namespace mayfly {

struct EnvironmentRecord {
  std::string name;        // Unique among environments that are not DELETED.
  std::string uid;         // Unique for ever.
  int64_t generation = 1;  // Counts the environments that had this name.
  std::string scope;       // ScopeId(installation, name, generation).
  EnvironmentState state = EnvironmentState::kCreating;
  Verdict verdict = Verdict::kNone;
  Cause cause;
  EnvironmentRequest request;  // Without secrets.
  absl::Time create_time;
  absl::Time update_time;
  absl::Time expire_time = absl::InfiniteFuture();
  absl::Time delete_time = absl::InfiniteFuture();  // When it became DELETED.
  bool delete_requested = false;                    // Teardown was asked for and must be finished after a crash.
  int64_t etag = 0;                                 // Counts the writes of this record.
};

// Something that exists, or may exist, outside: written as intended before the effect, confirmed after it.
struct ResourceRecord {
  std::string uid;   // Of the environment.
  std::string kind;  // "scope", "node", "port".
  std::string name;
  int attempt = 1;
  std::string digest;  // PlanNode::digest of what was started, for updates in place.
  bool confirmed = false;
};

struct ListFilter {
  bool include_deleted = false;
  std::string owner;  // Empty: any.
  std::string name_prefix;
  std::vector<EnvironmentState> states;  // Empty: any.
};

// All writes of one turn of the orchestrator, applied together or not at all.
struct WriteBatch {
  std::optional<EnvironmentRecord> environment;  // etag must be the stored one; it is counted up.
  std::vector<Event> events;                     // Sequence numbers follow the stored ones without a gap.
  std::vector<ResourceRecord> put_resources;
  std::vector<ResourceRecord> remove_resources;  // By kind and name; before put_resources.
  struct Measured {
    std::string catalogue;
    std::string node;
    absl::Duration start_time;
  };
  std::vector<Measured> measured;
  std::optional<std::string> source;  // What it is made from by now (source_codec.h), in place of what was kept.
};

class Store {
 public:
  virtual ~Store() = default;

  // Identity of this state folder, made once; part of every scope id. Outlives the records.
  virtual const std::string& installation() const = 0;

  // A new environment with its first events, in one transaction. When `record.request.request_id` was used before by
  // the same owner: ALREADY_EXISTS is not returned but that environment as it is now (DELETED too, until it is purged),
  // with `created` false. ALREADY_EXISTS when a live environment has the name. INVALID_ARGUMENT without name or uid, or
  // when the events are not numbered 1, 2, ... Fills generation, scope and etag.
  struct Created {
    EnvironmentRecord record;
    bool created = true;
  };
  virtual absl::StatusOr<Created> CreateEnvironment(EnvironmentRecord record, std::vector<Event> events) = 0;

  // NOT_FOUND for an unknown uid, ABORTED for a stale etag, INVALID_ARGUMENT when an event's number is not the next one
  // or the record's name, uid, generation or scope differs. After OK the stored etag is batch.environment->etag + 1.
  virtual absl::Status Write(const std::string& uid, const WriteBatch& batch) = 0;

  // By name: the live one, or else the latest deleted one. Any thread.
  virtual absl::StatusOr<EnvironmentRecord> GetEnvironment(const std::string& name) = 0;
  virtual absl::StatusOr<EnvironmentRecord> GetByUid(const std::string& uid) = 0;

  // In order of name, then generation, starting after `page_token` (empty: from the start); `next_page_token` is empty
  // on the last page. At most 1,000 a page; 0 means that. INVALID_ARGUMENT for a token that is none. Any thread.
  struct Page {
    std::vector<EnvironmentRecord> environments;
    std::string next_page_token;
  };
  virtual absl::StatusOr<Page> ListEnvironments(const ListFilter& filter, int page_size,
                                                const std::string& page_token) = 0;

  // Events of one environment with sequence > `after`, at most `limit`. An event that cannot be read comes as a kNote
  // with its number, so that numbers keep having no gaps. NOT_FOUND for an unknown uid. Any thread.
  virtual absl::StatusOr<std::vector<Event>> ReadEvents(const std::string& uid, int64_t after, int limit) = 0;

  // What its latest source was, kept as long as its record; empty when nothing was kept. NOT_FOUND for an unknown uid.
  virtual absl::StatusOr<std::string> ReadSource(const std::string& uid) = 0;

  virtual absl::StatusOr<std::vector<ResourceRecord>> ListResources(const std::string& uid) = 0;

  // Last measured start times of a catalogue's nodes: a smoothed value, new = (old + 3 * measured) / 4.
  struct StartTime {
    std::string node;
    absl::Duration start_time;
  };
  virtual absl::StatusOr<std::vector<StartTime>> StartTimes(const std::string& catalogue) = 0;

  // Forgets environments whose delete_time is before `before` with all they own; returns their uids so that folders can
  // go, too. Generations of their names go on counting.
  virtual absl::StatusOr<std::vector<std::string>> Purge(absl::Time before) = 0;

  // No environment of `name` gets generation `last` or an earlier one from now on: they were used before the records
  // were lost.
  virtual absl::Status SkipGenerations(const std::string& name, int64_t last) = 0;

  // Names and reasons of records that could not be read and were set aside.
  virtual absl::StatusOr<std::vector<std::string>> Quarantined() = 0;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_STORE_H_
