#include "server/store/schema.h"

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

// Steps are history: a released one is never edited, a change is a new step. Times are nanoseconds since 1970,
// durations nanoseconds; the largest and smallest integers mean infinity.
constexpr const char* kSteps[kSchemaVersion] = {
    // 1: everything that an environment needs.
    R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Outlives the environments of a name, so that a generation is never used twice.
CREATE TABLE names(name TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE environments(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  generation INTEGER NOT NULL,
  scope TEXT NOT NULL,
  state INTEGER NOT NULL,
  verdict INTEGER NOT NULL,
  create_ns INTEGER NOT NULL,
  update_ns INTEGER NOT NULL,
  expire_ns INTEGER NOT NULL,
  delete_ns INTEGER NOT NULL,
  delete_requested INTEGER NOT NULL,
  etag INTEGER NOT NULL,
  owner TEXT NOT NULL,
  request_id TEXT,
  request TEXT NOT NULL,  -- JSON, without secrets.
  cause TEXT NOT NULL     -- JSON, or empty.
) STRICT;
CREATE UNIQUE INDEX environments_by_name ON environments(name, generation);
CREATE UNIQUE INDEX environments_live ON environments(name) WHERE state <> 7;
CREATE UNIQUE INDEX environments_by_request ON environments(owner, request_id) WHERE request_id IS NOT NULL;
CREATE TABLE events(
  environment INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  detail TEXT NOT NULL,  -- JSON of what is not the default, or empty.
  PRIMARY KEY(environment, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE resources(
  environment INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  digest TEXT NOT NULL,
  confirmed INTEGER NOT NULL,
  PRIMARY KEY(environment, kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE start_times(
  catalogue TEXT NOT NULL,
  node TEXT NOT NULL,
  start_ns INTEGER NOT NULL,
  PRIMARY KEY(catalogue, node)
) STRICT, WITHOUT ROWID;
)sql",
    // 2: records that cannot be read are set aside; deleted ones are found by age.
    R"sql(
CREATE TABLE quarantine(
  id INTEGER PRIMARY KEY,  -- As it was in environments: its events and resources are still there.
  uid TEXT NOT NULL,
  name TEXT NOT NULL,
  reason TEXT NOT NULL,
  time_ns INTEGER NOT NULL,
  request TEXT NOT NULL,
  cause TEXT NOT NULL
) STRICT;
CREATE INDEX environments_by_age ON environments(delete_ns) WHERE state = 7;
)sql",
    // 3: the files that an environment was made from, so that it can be made again.
    R"sql(
CREATE TABLE sources(environment INTEGER PRIMARY KEY, source TEXT NOT NULL) STRICT;
)sql",
};

}  // namespace

absl::Status Migrate(Database* db) {
  MAYFLY_ASSIGN_OR_RETURN(const auto version, db->QueryInt("PRAGMA user_version"));
  if (*version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("the state folder was written by a newer mayfly (schema ",
                                                      *version, ", this one knows ", kSchemaVersion,
                                                      "): use that version, or another --state-dir"));
  }
  for (int64_t step = *version; step < kSchemaVersion; ++step) {
    const std::string sql =
        absl::StrCat("BEGIN IMMEDIATE;", kSteps[step], "PRAGMA user_version = ", step + 1, "; COMMIT;");
    if (absl::Status status = db->Exec(sql); !status.ok()) {
      db->Exec("ROLLBACK").IgnoreError();
      return Annotate(status, absl::StrCat("bringing the database to schema ", step + 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace mayfly
