// A Store in memory: for tests of what stands above the store, and for trying things out. It keeps every promise of
// store.h except that nothing outlives the process and that nothing is ever unreadable.
#ifndef MAYFLY_SERVER_STORE_MEMORY_STORE_H_
#define MAYFLY_SERVER_STORE_MEMORY_STORE_H_

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/store/store.h"

namespace mayfly {

// Thread-safe.
class MemoryStore final : public Store {
 public:
  explicit MemoryStore(std::string installation = "memory") : installation_(std::move(installation)) {}

  // From now on every write fails with `status` and changes nothing; OK ends that.
  void FailWrites(absl::Status status);

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
  absl::StatusOr<std::vector<std::string>> Quarantined() override { return std::vector<std::string>(); }

 private:
  struct Entry {
    EnvironmentRecord record;
    std::vector<Event> events;
    std::map<std::pair<std::string, std::string>, ResourceRecord> resources;  // By kind and name.
    std::string source;
  };

  const EnvironmentRecord* FindLive(const std::string& name) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string installation_;
  Mutex mutex_;
  absl::Status fail_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Entry> by_uid_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> generations_ ABSL_GUARDED_BY(mutex_);  // Outlives Purge.
  std::map<std::pair<std::string, std::string>, absl::Duration> start_times_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mayfly

#endif  // MAYFLY_SERVER_STORE_MEMORY_STORE_H_
