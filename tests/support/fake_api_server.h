// A tiny Kubernetes API server in memory: objects of any kind, without controllers, validation or defaulting. For what
// clients must do when an API server misbehaves; what real ones do is tested on a real one.
//
// It knows: get, list (chunked, label selectors of the form a=b,c=d), create, apply and merge patches (both merge),
// delete with UID preconditions, delete of a collection, watch with resourceVersion and 410.
#ifndef MAYFLY_TESTS_SUPPORT_FAKE_API_SERVER_H_
#define MAYFLY_TESTS_SUPPORT_FAKE_API_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "mayfly/base/mutex.h"
#include "server/engine/kubernetes/client/endpoint.h"
#include "tests/support/http_server.h"

namespace mayfly {

class FakeApiServer {
 public:
  // Asked first for each request, on its connection's thread; true when it has answered or reset.
  using Before = std::function<bool(HttpExchange&)>;

  explicit FakeApiServer(Before before = nullptr);
  ~FakeApiServer();

  kube::Endpoint endpoint() const;

  // Straight into the store, as somebody else would: creates or replaces; `path` is the object's.
  void Put(const std::string& path, nlohmann::json object);
  void Remove(const std::string& path);
  // A null value when there is none.
  nlohmann::json Object(const std::string& path) const;
  std::set<std::string> Paths() const;

  // Forgets the past: watches from before now, and lists begun before, are answered with 410.
  void Compact();
  // All watches get a bookmark; end properly; are reset.
  void SendBookmarks();
  void EndWatches();
  void ResetWatches();
  void AwaitWatches(int count) const;  // Until so many have been begun in all.

  // Requests that came, as "GET /api/v1/...?query".
  std::vector<std::string> requests() const;
  int64_t version() const;

 private:
  struct Watcher;
  struct Change {
    int64_t version = 0;
    std::string type;
    std::string path;
    nlohmann::json object;
  };

  void Handle(HttpExchange& exchange);
  void Serve(HttpExchange& exchange);
  void List(HttpExchange& exchange);
  void Watch(HttpExchange& exchange);
  void Create(HttpExchange& exchange);
  void Merge(HttpExchange& exchange);
  void Delete(HttpExchange& exchange);
  void Store(const std::string& path, nlohmann::json object) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Drop(const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Signal(void (*set)(Watcher&));

  const Before before_;
  mutable Mutex mutex_;
  mutable CondVar watchers_changed_;
  std::map<std::string, nlohmann::json> objects_ ABSL_GUARDED_BY(mutex_);
  std::vector<Change> changes_ ABSL_GUARDED_BY(mutex_);
  std::vector<Watcher*> watchers_ ABSL_GUARDED_BY(mutex_);
  int watches_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mutex_);
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 100;
  int64_t floor_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_uid_ ABSL_GUARDED_BY(mutex_) = 0;

  HttpServer server_;  // Last: its handlers use all of the above.
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_FAKE_API_SERVER_H_
