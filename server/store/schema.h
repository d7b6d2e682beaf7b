// The tables and how an older database becomes a current one.
#ifndef MAYFLY_SERVER_STORE_SCHEMA_H_
#define MAYFLY_SERVER_STORE_SCHEMA_H_

#include "absl/status/status.h"
#include "server/store/database.h"

namespace mayfly {

inline constexpr int kSchemaVersion = 3;

// Brings the database to kSchemaVersion, step by step, each step in one transaction: killed half way, it goes on where
// it was. FAILED_PRECONDITION when the database was written by a newer mayfly; it is left as it is.
absl::Status Migrate(Database* db);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_SCHEMA_H_
