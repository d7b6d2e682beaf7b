// Copies the write-ahead log back into the database beside the writers: the fsyncs of a checkpoint take milliseconds
// and must not stand in anybody's way.
#ifndef MAYFLY_SERVER_STORE_CHECKPOINTER_H_
#define MAYFLY_SERVER_STORE_CHECKPOINTER_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "mayfly/base/mutex.h"
#include "server/store/database.h"

namespace mayfly {

// One thread with a connection of its own. Set up for one writer, which must be idle when this is destroyed.
class Checkpointer {
 public:
  // Begins to listen to the commits of `writer`, which must outlive it.
  static absl::StatusOr<std::unique_ptr<Checkpointer>> Start(const std::string& path, Database* writer);
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

 private:
  Checkpointer(std::unique_ptr<Database> db, Database* writer);
  static int OnCommit(void* self, sqlite3* db, const char* name, int pages);
  void Run();

  const std::unique_ptr<Database> db_;
  Database* const writer_;
  Mutex mutex_;
  CondVar wake_;
  bool due_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_CHECKPOINTER_H_
