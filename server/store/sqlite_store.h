// The Store of a server: one SQLite database in its state folder.
//
// What a call acknowledged survives the death of the process at any instant; with `sync_full` also the loss of power.
// One connection writes, another reads for the calls that may come from any thread, and a thread of its own moves the
// write-ahead log back into the database.
#ifndef MAYFLY_SERVER_STORE_SQLITE_STORE_H_
#define MAYFLY_SERVER_STORE_SQLITE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/store/state_lock.h"
#include "server/store/store.h"

namespace mayfly {

struct SqliteStoreOptions {
  // Every commit waits for the disk (fsync). Without it, a loss of power may take the last moments with it, never the
  // consistency of what is left.
  bool sync_full = false;
  // The database never grows over this; over it, writes are RESOURCE_EXHAUSTED. 0: only the disk limits it.
  int64_t max_bytes = 0;
};

// Opens or makes `<state_dir>/mayfly.db` (0600) and `<state_dir>/installation`, which outlives it, and holds the
// folder's lock until the store is destroyed: `lock` if the caller has it already, else one that it takes.
// FAILED_PRECONDITION: another server holds the folder (it is named), or a newer mayfly wrote it. DATA_LOSS: the file
// is no database or damaged. Records that cannot be read do not fail it: see Store::Quarantined.
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& state_dir, SqliteStoreOptions options = {},
                                                       std::unique_ptr<StateLock> lock = nullptr);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_SQLITE_STORE_H_
