#include "tests/support/fake_api_server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace mayfly {
namespace {

using nlohmann::json;

std::vector<std::string> Parts(const std::string& path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

// The number of parts before the resource's name: "/api/v1" is 2, "/apis/apps/v1" is 3.
size_t Prefix(const std::vector<std::string>& parts) {
  return !parts.empty() && parts[0] == "api" ? 2 : 3;
}

bool IsObject(const std::string& path) {
  std::vector<std::string> parts = Parts(path);
  size_t left = parts.size() - std::min(parts.size(), Prefix(parts));
  if (left > 2 && parts[Prefix(parts)] == "namespaces") left -= 2;
  return left == 2;
}

// Whether the object at `path` is in `collection`, which may be that of all namespaces.
bool In(const std::string& path, const std::string& collection) {
  std::vector<std::string> parts = Parts(path);
  parts.pop_back();
  if (parts == Parts(collection)) return true;
  const size_t prefix = Prefix(parts);
  if (parts.size() < prefix + 3 || parts[prefix] != "namespaces") return false;
  parts.erase(parts.begin() + static_cast<ptrdiff_t>(prefix), parts.begin() + static_cast<ptrdiff_t>(prefix) + 2);
  return parts == Parts(collection);
}

bool Selected(const json& object, const std::string& selector) {
  for (const absl::string_view term : absl::StrSplit(selector, ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(term, '=');
    const json labels = object.value("metadata", json::object()).value("labels", json::object());
    if (labels.value(pair.first, "\n") != pair.second) return false;
  }
  return true;
}

std::string QueryOf(const HttpRequest& request, const std::string& key) {
  const auto found = request.query.find(key);
  return found == request.query.end() ? "" : found->second;
}

json Status(int code, const std::string& reason, const std::string& message) {
  return {{"kind", "Status"},   {"apiVersion", "v1"}, {"status", "Failure"},
          {"message", message}, {"reason", reason},   {"code", code}};
}

void Fail(HttpExchange& exchange, int code, const std::string& reason, const std::string& message) {
  exchange.Answer(code, Status(code, reason, message).dump());
}

std::string NameOf(const std::string& path) {
  return Parts(path).back();
}

}  // namespace

struct FakeApiServer::Watcher {
  HttpExchange* exchange = nullptr;
  bool bookmark = false;
  bool end = false;
  bool reset = false;
};

FakeApiServer::FakeApiServer(Before before)
    : before_(std::move(before)), server_([this](HttpExchange& exchange) { Handle(exchange); }) {}
FakeApiServer::~FakeApiServer() = default;

kube::Endpoint FakeApiServer::endpoint() const {
  kube::Endpoint endpoint;
  endpoint.server = server_.url();
  return endpoint;
}

void FakeApiServer::Store(const std::string& path, json object) {
  const auto found = objects_.find(path);
  json& metadata = object["metadata"];
  metadata["name"] = NameOf(path);
  metadata["uid"] =
      found != objects_.end() ? found->second["metadata"]["uid"] : json(absl::StrCat("uid-", ++last_uid_));
  metadata["resourceVersion"] = absl::StrCat(++version_);
  changes_.push_back({version_, found != objects_.end() ? "MODIFIED" : "ADDED", path, object});
  objects_[path] = std::move(object);
  for (Watcher* watcher : watchers_) watcher->exchange->Notify();
}

void FakeApiServer::Drop(const std::string& path) {
  json object = objects_.at(path);
  object["metadata"]["resourceVersion"] = absl::StrCat(++version_);
  changes_.push_back({version_, "DELETED", path, std::move(object)});
  objects_.erase(path);
  for (Watcher* watcher : watchers_) watcher->exchange->Notify();
}

void FakeApiServer::Put(const std::string& path, json object) {
  MutexLock lock(mutex_);
  Store(path, std::move(object));
}

void FakeApiServer::Remove(const std::string& path) {
  MutexLock lock(mutex_);
  Drop(path);
}

json FakeApiServer::Object(const std::string& path) const {
  MutexLock lock(mutex_);
  const auto found = objects_.find(path);
  return found == objects_.end() ? json() : found->second;
}

std::set<std::string> FakeApiServer::Paths() const {
  MutexLock lock(mutex_);
  std::set<std::string> paths;
  for (const auto& [path, object] : objects_) paths.insert(path);
  return paths;
}

void FakeApiServer::Compact() {
  MutexLock lock(mutex_);
  floor_ = ++version_;
}

void FakeApiServer::Signal(void (*set)(Watcher&)) {
  MutexLock lock(mutex_);
  for (Watcher* watcher : watchers_) {
    set(*watcher);
    watcher->exchange->Notify();
  }
}

void FakeApiServer::SendBookmarks() {
  Signal([](Watcher& watcher) { watcher.bookmark = true; });
}
void FakeApiServer::EndWatches() {
  Signal([](Watcher& watcher) { watcher.end = true; });
}
void FakeApiServer::ResetWatches() {
  Signal([](Watcher& watcher) { watcher.reset = true; });
}

void FakeApiServer::AwaitWatches(int count) const {
  MutexLock lock(mutex_);
  while (watches_begun_ < count) watchers_changed_.Wait(mutex_);
}

std::vector<std::string> FakeApiServer::requests() const {
  MutexLock lock(mutex_);
  return requests_;
}

int64_t FakeApiServer::version() const {
  MutexLock lock(mutex_);
  return version_;
}

void FakeApiServer::Handle(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  {
    MutexLock lock(mutex_);
    requests_.push_back(absl::StrCat(request.method, " ", request.target));
  }
  if (before_ && before_(exchange)) return;
  Serve(exchange);
}

void FakeApiServer::Serve(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  if (request.method == "GET" && !IsObject(request.path)) {
    return QueryOf(request, "watch").empty() ? List(exchange) : Watch(exchange);
  }
  if (request.method == "POST") return Create(exchange);
  if (request.method == "PATCH") return Merge(exchange);
  if (request.method == "DELETE") return Delete(exchange);
  const json object = Object(request.path);
  if (object.is_null()) return Fail(exchange, 404, "NotFound", NameOf(request.path) + " not found");
  exchange.Answer(200, object.dump());
}

void FakeApiServer::List(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  const std::string token = QueryOf(request, "continue");
  size_t limit = SIZE_MAX;
  if (const std::string text = QueryOf(request, "limit"); !text.empty() && !absl::SimpleAtoi(text, &limit)) limit = 1;
  json list = {{"kind", "ThingList"}, {"apiVersion", "v1"}, {"items", json::array()}};
  bool expired = false;
  {
    MutexLock lock(mutex_);
    int64_t at = version_;
    std::string after;
    if (!token.empty()) {
      const std::pair<std::string, std::string> parts = absl::StrSplit(token, absl::MaxSplits(':', 1));
      expired = !absl::SimpleAtoi(parts.first, &at) || at < floor_;
      after = parts.second;
    }
    list["metadata"]["resourceVersion"] = absl::StrCat(at);
    for (const auto& [path, object] : objects_) {
      if (path <= after || !In(path, request.path) || !Selected(object, QueryOf(request, "labelSelector"))) continue;
      if (list["items"].size() == limit) {
        list["metadata"]["continue"] = absl::StrCat(at, ":", after);
        break;
      }
      list["items"].push_back(object);
      after = path;
    }
  }
  if (expired) return Fail(exchange, 410, "Expired", "the continue token is too old");
  exchange.Answer(200, list.dump());
}

void FakeApiServer::Watch(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  int64_t seen = 0;
  if (!absl::SimpleAtoi(QueryOf(request, "resourceVersion"), &seen)) seen = 0;
  Watcher watcher{&exchange};
  {
    MutexLock lock(mutex_);
    if (seen < floor_) {
      exchange.Answer(410, Status(410, "Expired", "too old resource version").dump());
      return;
    }
    watchers_.push_back(&watcher);
    ++watches_begun_;
    watchers_changed_.NotifyAll();
  }
  exchange.Begin(200);
  for (bool going = true; going;) {
    std::string lines;
    {
      MutexLock lock(mutex_);
      for (const Change& change : changes_) {
        if (change.version <= seen) continue;
        if (In(change.path, request.path) && Selected(change.object, QueryOf(request, "labelSelector"))) {
          absl::StrAppend(&lines, json{{"type", change.type}, {"object", change.object}}.dump(), "\n");
        }
        seen = change.version;
      }
      if (std::exchange(watcher.bookmark, false)) {
        seen = version_;
        absl::StrAppend(&lines, R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":")", version_, "\"}}}\n");
      }
      going = !watcher.end && !watcher.reset;
    }
    going = exchange.Write(lines) && going;
    going = going && exchange.Wait() == HttpExchange::Woken::kNotified;
  }
  MutexLock lock(mutex_);
  watchers_.erase(std::find(watchers_.begin(), watchers_.end(), &watcher));
  watcher.end ? exchange.End() : exchange.Reset();
}

void FakeApiServer::Create(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  const json object = json::parse(request.body, nullptr, false);
  if (object.is_discarded()) return Fail(exchange, 400, "BadRequest", "no JSON");
  const std::string name = object.value("metadata", json::object()).value("name", "");
  const std::string path = absl::StrCat(request.path, "/", name);
  std::string stored;
  {
    MutexLock lock(mutex_);
    if (objects_.count(path) == 0) {
      Store(path, object);
      stored = objects_.at(path).dump();
    }
  }
  if (stored.empty()) return Fail(exchange, 409, "AlreadyExists", name + " already exists");
  exchange.Answer(201, stored);
}

void FakeApiServer::Merge(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  const json patch = json::parse(request.body, nullptr, false);
  const bool apply = absl::StrContains(request.headers.at("content-type"), "apply");
  std::string stored;
  {
    MutexLock lock(mutex_);
    const auto found = objects_.find(request.path);
    if (found != objects_.end() || apply) {
      json object = found == objects_.end() ? json::object() : found->second;
      object.merge_patch(patch);
      Store(request.path, std::move(object));
      stored = objects_.at(request.path).dump();
    }
  }
  if (stored.empty()) return Fail(exchange, 404, "NotFound", NameOf(request.path) + " not found");
  exchange.Answer(200, stored);
}

void FakeApiServer::Delete(HttpExchange& exchange) {
  const HttpRequest& request = exchange.request();
  const json options = json::parse(request.body, nullptr, false);
  const std::string uid = options.is_object() ? options.value("preconditions", json::object()).value("uid", "") : "";
  int code = 200;
  {
    MutexLock lock(mutex_);
    const auto found = objects_.find(request.path);
    if (!IsObject(request.path)) {
      std::vector<std::string> paths;
      for (const auto& [path, object] : objects_) {
        if (In(path, request.path) && Selected(object, QueryOf(request, "labelSelector"))) paths.push_back(path);
      }
      for (const std::string& path : paths) Drop(path);
    } else if (found == objects_.end()) {
      code = 404;
    } else if (!uid.empty() && found->second["metadata"]["uid"] != uid) {
      code = 409;
    } else {
      Drop(request.path);
    }
  }
  if (code == 404) return Fail(exchange, 404, "NotFound", NameOf(request.path) + " not found");
  if (code == 409) {
    return Fail(exchange, 409, "Conflict",
                "Operation cannot be fulfilled: the UID in the precondition (" + uid + ") does not match");
  }
  exchange.Answer(200, R"({"kind":"Status","apiVersion":"v1","status":"Success"})");
}

}  // namespace mayfly
