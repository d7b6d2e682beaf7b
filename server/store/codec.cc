#include "server/store/codec.h"

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

using Json = nlohmann::json;
constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
constexpr int64_t kNever = std::numeric_limits<int64_t>::min();

std::string Dump(const Json& json) {
  return json.empty() ? "" : json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Writes only what differs from the default.
template <typename T>
void Put(Json& json, const char* key, const T& value, const T& normal = T()) {
  if (value != normal) json[key] = value;
}
void PutDuration(Json& json, const char* key, absl::Duration value, absl::Duration normal) {
  if (value != normal) json[key] = EncodeDuration(value);
}

// Reads an object and remembers the first thing that is wrong with it.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {
    if (!json.is_object()) status_ = absl::DataLossError("not an object");
  }

  int64_t Int(const char* key, int64_t normal) {
    const Json* value = Find(key, &Json::is_number_integer, "a whole number");
    return value == nullptr ? normal : value->get<int64_t>();
  }
  // A number of an enum between `low` and `high`.
  template <typename T>
  T Enum(const char* key, T normal, T low, T high) {
    const int64_t value = Int(key, static_cast<int64_t>(normal));
    if (value < static_cast<int64_t>(low) || value > static_cast<int64_t>(high)) {
      Fail(absl::StrCat("'", key, "' is ", value));
      return normal;
    }
    return static_cast<T>(value);
  }
  bool Bool(const char* key) {
    const Json* value = Find(key, &Json::is_boolean, "true or false");
    return value != nullptr && value->get<bool>();
  }
  std::string Text(const char* key) {
    const Json* value = Find(key, &Json::is_string, "text");
    return value == nullptr ? "" : value->get<std::string>();
  }
  std::vector<std::string> Texts(const char* key) {
    std::vector<std::string> out;
    for (const Json& item : Items(key)) {
      if (item.is_string()) {
        out.push_back(item.get<std::string>());
      } else {
        Fail(absl::StrCat("'", key, "' holds something that is not text"));
      }
    }
    return out;
  }
  std::map<std::string, std::string> TextMap(const char* key) {
    std::map<std::string, std::string> out;
    const Json* object = Object(key);
    if (object == nullptr) return out;
    for (auto it = object->begin(); it != object->end(); ++it) {
      if (it->is_string()) {
        out.emplace(it.key(), it->get<std::string>());
      } else {
        Fail(absl::StrCat("'", key, "' holds something that is not text"));
      }
    }
    return out;
  }
  const Json* Object(const char* key) { return Find(key, &Json::is_object, "an object"); }
  const Json& Items(const char* key) {
    static const Json& none = *new Json(Json::array());
    const Json* value = Find(key, &Json::is_array, "a list");
    return value == nullptr ? none : *value;
  }
  void Fail(std::string what) {
    if (status_.ok()) status_ = absl::DataLossError(what);
  }
  void Take(const absl::Status& status) {
    if (status_.ok()) status_ = status;
  }
  const absl::Status& status() const { return status_; }

 private:
  const Json* Find(const char* key, bool (Json::*is)() const noexcept, absl::string_view wanted) {
    if (!json_.is_object()) return nullptr;
    const auto it = json_.find(key);
    if (it == json_.end()) return nullptr;
    if (((*it).*is)()) return &*it;
    Fail(absl::StrCat("'", key, "' is not ", wanted));
    return nullptr;
  }

  const Json& json_;
  absl::Status status_;
};

absl::StatusOr<Json> Parse(absl::string_view text) {
  Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError("not JSON");
  return json;
}

Json ToJson(const Cause& cause) {
  Json json = Json::object();
  json["code"] = static_cast<int>(cause.code);
  Put(json, "node", cause.node);
  Put(json, "message", cause.message);
  Put(json, "hint", cause.hint);
  Put(json, "evidence", cause.evidence);
  Put(json, "inferred", cause.inferred);
  return json;
}

absl::StatusOr<Cause> ToCause(const Json& json) {
  Reader reader(json);
  Cause cause;
  const int64_t code = reader.Int("code", 0);
  cause.code = static_cast<CauseCode>(code);
  // A newer server's code has no entry here: say that it is unknown instead of inventing a meaning.
  if (InfoFor(cause.code).code != cause.code) {
    cause.code = CauseCode::kInternal;
    cause.hint = absl::StrCat("cause number ", code, " is not known to this version");
  }
  cause.node = reader.Text("node");
  cause.message = reader.Text("message");
  if (std::string hint = reader.Text("hint"); !hint.empty()) cause.hint = std::move(hint);
  cause.evidence = reader.Texts("evidence");
  cause.inferred = reader.Bool("inferred");
  MAYFLY_RETURN_IF_ERROR(Annotate(reader.status(), "cause"));
  return cause;
}

Json ToJson(const Receipt& receipt) {
  Json json = Json::object();
  Put(json, "processes", receipt.processes);
  Put(json, "mounts", receipt.mounts);
  Put(json, "networks", receipt.networks);
  Put(json, "cgroups", receipt.cgroups);
  Put(json, "ports", receipt.ports);
  PutDuration(json, "took", receipt.took, absl::ZeroDuration());
  Put(json, "blockers", receipt.blockers);
  Put(json, "ending", receipt.ending);
  return json;
}

absl::StatusOr<Receipt> ToReceipt(const Json& json) {
  Reader reader(json);
  Receipt receipt;
  receipt.processes = static_cast<int>(reader.Int("processes", 0));
  receipt.mounts = static_cast<int>(reader.Int("mounts", 0));
  receipt.networks = static_cast<int>(reader.Int("networks", 0));
  receipt.cgroups = static_cast<int>(reader.Int("cgroups", 0));
  receipt.ports = static_cast<int>(reader.Int("ports", 0));
  receipt.took = DecodeDuration(reader.Int("took", 0));
  receipt.blockers = reader.Texts("blockers");
  receipt.ending = reader.Text("ending");
  MAYFLY_RETURN_IF_ERROR(Annotate(reader.status(), "receipt"));
  return receipt;
}

Json ToJson(const PlannedNode& node) {
  Json json = Json::object();
  json["name"] = node.name;
  Put(json, "kind", static_cast<int>(node.kind));
  Put(json, "needs", node.needs);
  Put(json, "why", node.why);
  PutDuration(json, "expected", node.expected, absl::ZeroDuration());
  Put(json, "flaky", node.flaky);
  return json;
}

absl::StatusOr<PlannedNode> ToPlannedNode(const Json& json) {
  Reader reader(json);
  PlannedNode node;
  node.name = reader.Text("name");
  node.kind = reader.Enum("kind", NodeKind::kService, NodeKind::kService, NodeKind::kTestJob);
  node.needs = reader.Texts("needs");
  node.why = reader.Texts("why");
  node.expected = DecodeDuration(reader.Int("expected", 0));
  node.flaky = reader.Bool("flaky");
  MAYFLY_RETURN_IF_ERROR(Annotate(reader.status(), "plan"));
  return node;
}

bool IsDefault(const Receipt& r) {
  return r.processes == 0 && r.mounts == 0 && r.networks == 0 && r.cgroups == 0 && r.ports == 0 &&
         r.took == absl::ZeroDuration() && r.blockers.empty() && r.ending.empty();
}

}  // namespace

int64_t EncodeTime(absl::Time time) {
  if (time == absl::InfiniteFuture()) return kForever;
  return time == absl::InfinitePast() ? kNever : absl::ToUnixNanos(time);
}

absl::Time DecodeTime(int64_t ns) {
  if (ns == kForever) return absl::InfiniteFuture();
  return ns == kNever ? absl::InfinitePast() : absl::FromUnixNanos(ns);
}

// ToInt64Nanoseconds saturates at the same numbers.
int64_t EncodeDuration(absl::Duration duration) {
  return absl::ToInt64Nanoseconds(duration);
}

absl::Duration DecodeDuration(int64_t ns) {
  if (ns == kForever) return absl::InfiniteDuration();
  return ns == kNever ? -absl::InfiniteDuration() : absl::Nanoseconds(ns);
}

std::string EncodeRequest(const EnvironmentRequest& request) {
  Json json = Json::object();
  Put(json, "request_id", request.request_id);
  Put(json, "name", request.name);
  Put(json, "source", request.source);
  Put(json, "source_below", request.source_below);
  Put(json, "services", request.services);
  Put(json, "tests", request.tests);
  Put(json, "all_tests", request.all_tests);
  Put(json, "keep", static_cast<int>(request.keep));
  Put(json, "profile", request.profile);
  if (request.ttl.has_value()) json["ttl"] = EncodeDuration(*request.ttl);
  Put(json, "variables", request.variables);
  Put(json, "labels", request.labels);
  Put(json, "images", request.images);
  Put(json, "engine", request.engine);
  Put(json, "owner", request.owner);
  Put(json, "test_requests", request.test_requests);
  return json.empty() ? "{}" : Dump(json);
}

absl::StatusOr<EnvironmentRequest> DecodeRequest(absl::string_view text) {
  const auto json = Parse(text);
  if (!json.ok()) return Annotate(json.status(), "request");
  Reader reader(*json);
  EnvironmentRequest request;
  request.request_id = reader.Text("request_id");
  request.name = reader.Text("name");
  request.source = reader.Text("source");
  request.source_below = reader.Text("source_below");
  request.services = reader.Texts("services");
  request.tests = reader.Texts("tests");
  request.all_tests = reader.Bool("all_tests");
  request.keep = reader.Enum("keep", Keep::kAlways, Keep::kAlways, Keep::kOnFailure);
  request.profile = reader.Text("profile");
  if (json->contains("ttl")) request.ttl = DecodeDuration(reader.Int("ttl", 0));
  request.variables = reader.TextMap("variables");
  request.labels = reader.TextMap("labels");
  request.images = reader.TextMap("images");
  request.engine = reader.Text("engine");
  request.owner = reader.Text("owner");
  request.test_requests = reader.Texts("test_requests");
  MAYFLY_RETURN_IF_ERROR(Annotate(reader.status(), "request"));
  return request;
}

std::string EncodeCause(const Cause& cause) {
  return cause == Cause() ? "" : Dump(ToJson(cause));
}

absl::StatusOr<Cause> DecodeCause(absl::string_view text) {
  if (text.empty()) return Cause();
  const auto json = Parse(text);
  if (!json.ok()) return Annotate(json.status(), "cause");
  return ToCause(*json);
}

std::string EncodeEventDetail(const Event& event) {
  Json json = Json::object();
  if (event.environment_state != EnvironmentState::kCreating) {
    json["environment_state"] = static_cast<int>(event.environment_state);
  }
  Put(json, "node", event.node);
  Put(json, "attempt", event.attempt);
  if (event.node_state != NodeState::kWaiting) json["node_state"] = static_cast<int>(event.node_state);
  Put(json, "verdict", static_cast<int>(event.verdict));
  if (event.cause != Cause()) json["cause"] = ToJson(event.cause);
  Put(json, "message", event.message);
  Put(json, "exit_code", event.exit_code);
  Put(json, "signal", event.signal);
  PutDuration(json, "cpu", event.usage.cpu, Usage().cpu);
  Put(json, "peak_memory", event.usage.peak_memory_bytes, Usage().peak_memory_bytes);
  if (!IsDefault(event.receipt)) json["receipt"] = ToJson(event.receipt);
  for (const PlannedNode& node : event.plan) json["plan"].push_back(ToJson(node));
  Put(json, "attributes", event.attributes);
  return Dump(json);
}

absl::StatusOr<Event> DecodeEventDetail(Event event, absl::string_view text) {
  if (event.kind < EventKind::kAccepted || event.kind > EventKind::kGone) {
    return absl::DataLossError(absl::StrCat("kind ", static_cast<int>(event.kind), " is not known to this version"));
  }
  if (text.empty()) return event;
  MAYFLY_ASSIGN_OR_RETURN(const Json json, Parse(text));
  Reader reader(json);
  event.environment_state = reader.Enum("environment_state", EnvironmentState::kCreating, EnvironmentState::kCreating,
                                        EnvironmentState::kDeleted);
  event.node = reader.Text("node");
  event.attempt = static_cast<int>(reader.Int("attempt", 0));
  event.node_state = reader.Enum("node_state", NodeState::kWaiting, NodeState::kWaiting, NodeState::kStopped);
  event.verdict = reader.Enum("verdict", Verdict::kNone, Verdict::kNone, Verdict::kCancelled);
  if (const Json* cause = reader.Object("cause"); cause != nullptr) {
    MAYFLY_ASSIGN_OR_RETURN(event.cause, ToCause(*cause));
  }
  event.message = reader.Text("message");
  event.exit_code = static_cast<int>(reader.Int("exit_code", 0));
  event.signal = static_cast<int>(reader.Int("signal", 0));
  event.usage.cpu = DecodeDuration(reader.Int("cpu", EncodeDuration(Usage().cpu)));
  event.usage.peak_memory_bytes = reader.Int("peak_memory", Usage().peak_memory_bytes);
  if (const Json* receipt = reader.Object("receipt"); receipt != nullptr) {
    MAYFLY_ASSIGN_OR_RETURN(event.receipt, ToReceipt(*receipt));
  }
  for (const Json& node : reader.Items("plan")) {
    MAYFLY_ASSIGN_OR_RETURN(PlannedNode planned, ToPlannedNode(node));
    event.plan.push_back(std::move(planned));
  }
  event.attributes = reader.TextMap("attributes");
  MAYFLY_RETURN_IF_ERROR(reader.status());
  return event;
}

}  // namespace mayfly
