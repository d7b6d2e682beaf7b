// Every environment as it is now, for readers on any thread: live ones and the last deleted ones from memory, the rest
// from the store.
#ifndef MAYFLY_SERVER_RUN_VIEW_TABLE_H_
#define MAYFLY_SERVER_RUN_VIEW_TABLE_H_

#include <deque>
#include <map>
#include <string>

#include "mayfly/base/mutex.h"
#include "server/run/provisioner.h"

namespace mayfly {

// Thread-safe. `store` must outlive it.
class ViewTable {
 public:
  explicit ViewTable(Store* store) : store_(store) {}

  // The newest view of an environment. One that is DELETED stays in memory for a while.
  void Put(EnvironmentViewRef view);

  absl::StatusOr<EnvironmentViewRef> Get(const std::string& name) const;
  absl::StatusOr<EnvironmentViewRef> GetByUid(const std::string& uid) const;
  absl::StatusOr<Provisioner::ViewPage> List(const ListFilter& filter, int page_size,
                                             const std::string& page_token) const;
  int live() const;

 private:
  absl::StatusOr<EnvironmentViewRef> FromStore(absl::StatusOr<EnvironmentRecord> record) const;
  EnvironmentViewRef Find(const std::string& uid) const;

  Store* const store_;
  mutable Mutex mutex_;
  std::map<std::string, EnvironmentViewRef> by_uid_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> live_by_name_ ABSL_GUARDED_BY(mutex_);  // Name -> uid.
  std::deque<std::string> deleted_ ABSL_GUARDED_BY(mutex_);                  // Uids, oldest first.
};

// What the events of a stored environment tell about it.
EnvironmentView ViewFromEvents(EnvironmentRecord record, const std::vector<Event>& events);

// All events of an environment, however many.
absl::StatusOr<std::vector<Event>> ReadAllEvents(Store& store, const std::string& uid);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_RUN_VIEW_TABLE_H_
