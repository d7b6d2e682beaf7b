#include "server/spec/builtin_types.h"

#include <memory>

#include "server/spec/yaml_reader.h"

namespace mayfly {
namespace {

// A probe that works for everybody comes first: an open port. Who has a health path says so in one line. PostgreSQL is
// the exception: it accepts connections while it still refuses queries. Memory limits are there to keep one service
// from taking the whole machine, not to size it.
constexpr char kTypes[] = R"(http:
  port: 8080
  health: tcp
  outputs: {url: "http://${self.address}"}
  resources: {memory: 512Mi, disk: 1Gi, processes: 512}
grpc:
  port: 50051
  health: tcp
  outputs: {url: "${self.address}"}
  resources: {memory: 512Mi, disk: 1Gi, processes: 512}
worker:
  health: none
  resources: {memory: 512Mi, disk: 1Gi, processes: 512}
job:
  health: {none: true, within: 5m}
  resources: {memory: 512Mi, disk: 1Gi, processes: 512}
postgres:
  port: 5432
  health: {run: [pg_isready, -q, -h, 127.0.0.1, -p, "${self.port}"]}
  outputs: {url: "postgres://postgres@${self.address}/postgres"}
  stop: {signal: INT}
  resources: {memory: 1Gi, disk: 2Gi, processes: 512}
redis:
  port: 6379
  health: tcp
  outputs: {url: "redis://${self.address}/0"}
  resources: {memory: 512Mi, disk: 1Gi, processes: 128}
)";

// The tree without its file: what is built in has no place that a user could open.
YamlRef WithoutFile(const YamlValue& value) {
  auto copy = std::make_shared<YamlValue>(value);
  copy->file = nullptr;
  for (YamlRef& item : copy->items) item = WithoutFile(*item);
  for (YamlEntry& entry : copy->entries) entry.value = WithoutFile(*entry.value);
  return copy;
}

}  // namespace

absl::string_view BuiltinTypesText() {
  return kTypes;
}

const std::map<std::string, YamlRef>& BuiltinTypes() {
  static const auto& types = *[] {
    Sink sink;
    const auto file = std::make_shared<SourceFile>(SourceFile{"built in", kTypes});
    auto* map = new std::map<std::string, YamlRef>;
    if (const YamlRef root = ReadYaml(file, sink)) {
      for (const YamlEntry& entry : root->entries) (*map)[entry.key] = WithoutFile(*entry.value);
    }
    return map;
  }();
  return types;
}

}  // namespace mayfly
