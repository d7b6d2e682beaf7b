// The maps inside a service: one line of documentation, one shape and one setter for each key.
#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "server/spec/scalars.h"
#include "server/spec/setters.h"
#include "server/spec/tables.h"

namespace mayfly {
namespace {

const std::vector<std::string>& ProbeKinds() {
  static const auto& kinds = *new std::vector<std::string>{"http", "tcp", "grpc", "run", "log", "notify", "none"};
  return kinds;
}

// At most one way of probing in one file, and it is not switched off.
void CheckHealth(const YamlValue& map, Sink& sink) {
  const YamlEntry* first = nullptr;
  for (const YamlEntry& entry : map.entries) {
    const bool kind = absl::c_linear_search(ProbeKinds(), entry.key);
    if (!kind) continue;
    if (entry.value->text == "false" && entry.value->plain) {
      sink.Error(entry.value->Pos(), absl::StrCat("'", entry.key, ": false' probes nothing"),
                 "write health: none to have no probe");
    }
    if (first != nullptr) {
      sink.Error({map.Pos().file, entry.line, entry.column},
                 absl::StrCat("both '", first->key, "' and '", entry.key, "': only one way to probe"),
                 "keep the one that proves the service usable");
    } else {
      first = &entry;
    }
  }
}

}  // namespace

const Shape& CommandShape() {
  static const auto& shape = *new Shape{Form::kCommand};
  return shape;
}

// `needs: [postgres, {migrate: completed}]`
const Shape& NeedsShape() {
  static const auto& shape =
      *new Shape(ListOf(Either(Of(Form::kNode), MapOf(Form::kNode, Words({"ready", "started", "completed"})))));
  return shape;
}

const Table<Port>& PortTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Port>("port", "the port",
                             "One port of a service. `metrics: 9090` is short for `metrics: {number: 9090}`.");
    t.Add({"number", Int(1, 65535), "The port that the process listens on.", "", "9090", true},
          [](Port& p, const YamlValue& v) { p.number = IntOf(v); });
    t.Add({"expose", Of(Form::kBool), "Reachable from the host, on loopback.", "false", "true"},
          [](Port& p, const YamlValue& v) { p.expose = BoolOf(v); });
    t.Add({"host_port", Int(1024, 65535),
           "The port on the host's loopback; `expose` is implied. Otherwise one is chosen and kept.", "", "8443"},
          [](Port& p, const YamlValue& v) {
            p.host_port = IntOf(v);
            p.expose = true;
          });
    return &t;
  }();
  return table;
}

const Table<Resources>& ResourcesTable() {
  static const auto& table = *[] {
    auto& t =
        NewTable<Resources>("resources", "'resources'",
                            "Limits of one process tree. What the host cannot enforce is told by `mayfly doctor`.");
    t.Add({"memory", Of(Form::kSize), "Memory; over it the process is killed (OUT_OF_MEMORY).", "by type", "128Mi"},
          [](Resources& r, const YamlValue& v) { r.memory_bytes = SizeOf(v); });
    t.Add({"disk", Of(Form::kSize), "What it may write to its private layer.", "by type", "1Gi"},
          [](Resources& r, const YamlValue& v) { r.disk_bytes = SizeOf(v); });
    t.Add({"cpu", Number(0.01, 1024), "Processor cores; 0.5 is half of one.", "no limit", "0.5", false, {"cpus"}},
          [](Resources& r, const YamlValue& v) { r.cpus = NumberOf(v); });
    t.Add({"processes", Int(1, 1000000), "Processes and threads.", "by type", "256", false, {"pids"}},
          [](Resources& r, const YamlValue& v) { r.processes = IntOf(v); });
    return &t;
  }();
  return table;
}

const Table<StopPolicy>& StopTable() {
  static const auto& table = *[] {
    auto& t = NewTable<StopPolicy>("stop", "'stop'", "How the process is asked to end.");
    t.Add({"signal", Of(Form::kSignal), "The signal that asks for an orderly end.", "TERM", "INT"},
          [](StopPolicy& s, const YamlValue& v) { s.signal = ParseSignal(v.text).value_or(SIGTERM); });
    t.Add({"grace", Of(Form::kDuration), "How long it may take; then it is killed.", "5s", "10s"},
          [](StopPolicy& s, const YamlValue& v) { s.grace = DurationOf(v); });
    return &t;
  }();
  return table;
}

const Table<FileSpec>& FileTable() {
  static const auto& table = *[] {
    auto& t =
        NewTable<FileSpec>("file", "the file",
                           "A configuration file that mayfly writes before the process starts. `path: text` is short "
                           "for `path: {content: text}`.");
    t.Add({"content", Of(Form::kTemplate), "The text; references are filled in.", "", "\"listen ${self.port}\""},
          [](FileSpec& f, const YamlValue& v) { f.content = TemplateOf(v); });
    t.Add(
        {"from", Of(Form::kInnerPath), "A file of the service's folder that holds the text instead.", "", "nginx.conf"},
        [](FileSpec&, const YamlValue&) {});  // The loader reads it.
    t.Add({"mode", Of(Form::kMode), "Its permission bits, in quotes.", "\"0444\"", "\"0644\""},
          [](FileSpec& f, const YamlValue& v) { f.mode = ParseMode(v.text).value_or(0444); });
    t.SetExclusive({"content", "from"});
    t.SetRule([](const YamlValue& map, Sink& sink) {
      if (map.Find("content") != nullptr && map.Find("from") != nullptr) {
        sink.Error(map.Find("from")->Pos(), "both 'content' and 'from'", "keep one of them");
      }
    });
    return &t;
  }();
  return table;
}

const Table<JobSpec>& BeforeTable() {
  static const auto& table = *[] {
    auto& t =
        NewTable<JobSpec>("before", "the job",
                          "A one-shot job that must exit 0 before its service starts. It has the service's variables, "
                          "needs and folder. `migrate: ./migrate` is short for `migrate: {run: ./migrate}`.");
    t.Add({"run", CommandShape(), "The command.", "", "./migrate up", true, {"command", "cmd"}},
          [](JobSpec& j, const YamlValue& v) { j.run = CommandOf(v); });
    t.Add({"workdir", Of(Form::kPath), "Relative to the service's folder.", "the folder", "db"},
          [](JobSpec& j, const YamlValue& v) { j.workdir = v.text; });
    t.Add({"env", MapOf(Form::kVariable, Of(Form::kTemplate)), "On top of the service's variables.", "",
           "{VERBOSE: \"1\"}"},
          [](JobSpec& j, const YamlValue& v) { j.variables = TemplateMapOf(v); });
    t.Add({"needs", NeedsShape(), "On top of the service's needs.", "", "[postgres]"},
          [](JobSpec& j, const YamlValue& v) { j.needs = NeedsOf(v); });
    t.Add({"within", Of(Form::kDuration), "Over it the job has failed.", "5m", "30s"},
          [](JobSpec& j, const YamlValue& v) { j.within = DurationOf(v); });
    return &t;
  }();
  return table;
}

const Table<ServiceSpec>& RestartTable() {
  static const auto& table = *[] {
    auto& t = NewTable<ServiceSpec>("restart", "'restart'",
                                    "`restart: on-failure` is short for `restart: {policy: on-failure}`.");
    t.Add({"policy", Words({"never", "on-failure"}), "Whether a service that ended by itself is started again.",
           "never", "on-failure"},
          [](ServiceSpec& s, const YamlValue& v) {
            s.restart = v.text == "on-failure" ? RestartPolicy::kOnFailure : RestartPolicy::kNever;
          });
    t.Add({"max", Int(1, 100), "How often, before the service has failed.", "3", "5"},
          [](ServiceSpec& s, const YamlValue& v) { s.max_restarts = IntOf(v); });
    return &t;
  }();
  return table;
}

const Table<Volume>& VolumeTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Volume>("volume", "the volume",
                               "Storage that outlives the process, and goes with the environment. `data: "
                               "/var/lib/data` is short for `data: {path: /var/lib/data}`. Needs an engine that has "
                               "volumes.");
    t.Add({"path", Of(Form::kPath), "Where it is mounted: an absolute path.", "", "/var/lib/data", true},
          [](Volume& s, const YamlValue& v) { s.path = v.text; });
    t.Add({"size", Of(Form::kSize), "How large it is.", "1Gi", "10Gi"},
          [](Volume& s, const YamlValue& v) { s.size_bytes = SizeOf(v); });
    return &t;
  }();
  return table;
}

const Table<SidecarSpec>& SidecarTable() {
  static const auto& table = *[] {
    auto& t = NewTable<SidecarSpec>("sidecar", "the sidecar",
                                    "A process that runs beside the service, from its start to its end, and shares its "
                                    "network. The service does not wait for it. Needs an engine that has sidecars.");
    t.Add({"image", Of(Form::kTemplate), "Its image.", "", "envoyproxy/envoy:v1.30", true},
          [](SidecarSpec& s, const YamlValue& v) { s.image = TemplateOf(v); });
    t.Add({"run", CommandShape(), "Its command.", "the image's own", "./proxy"},
          [](SidecarSpec& s, const YamlValue& v) { s.run = CommandOf(v); });
    t.Add({"env", MapOf(Form::kVariable, Of(Form::kTemplate)), "Its variables.", "", "{LEVEL: info}"},
          [](SidecarSpec& s, const YamlValue& v) { s.variables = TemplateMapOf(v); });
    return &t;
  }();
  return table;
}

const Table<Probe>& HealthTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Probe>("health", "'health'", "One way to probe, and how long it may take.");
    t.Add({"http", Of(Form::kHttpPath), "GET this path; an answer from 200 to 399 is healthy.", "", "/healthz"},
          [](Probe& p, const YamlValue& v) {
            p.kind = Probe::Kind::kHttp;
            p.path = v.text;
          });
    t.Add({"tcp", Of(Form::kBool), "A connection is accepted.", "", "true"},
          [](Probe& p, const YamlValue& v) { p.kind = BoolOf(v) ? Probe::Kind::kTcp : Probe::Kind::kNone; });
    t.Add({"grpc", Of(Form::kGrpcService),
           "grpc.health.v1.Health/Check answers SERVING; a text other than true names the service to ask for.", "",
           "true"},
          [](Probe& p, const YamlValue& v) {
            p.kind = Probe::Kind::kGrpc;
            p.service = v.text == "true" ? "" : v.text;
          });
    t.Add({"run", CommandShape(), "A command beside the service exits 0. Only ${self...} is filled in.", "",
           "[pg_isready, -q]"},
          [](Probe& p, const YamlValue& v) {
            p.kind = Probe::Kind::kCommand;
            for (const Template& word : CommandOf(v)) p.command.push_back(word.text);
          });
    t.Add({"log", Of(Form::kRegex), "A line of its output matches (RE2, unanchored).", "", "\"ready to serve\""},
          [](Probe& p, const YamlValue& v) {
            p.kind = Probe::Kind::kLog;
            p.pattern = v.text;
          });
    t.Add({"notify", Of(Form::kBool), "It sends READY=1 to $NOTIFY_SOCKET, as systemd services do.", "", "true"},
          [](Probe& p, const YamlValue&) { p.kind = Probe::Kind::kNotify; });
    t.Add({"none", Of(Form::kBool), "No probe: ready as soon as it was started.", "", "true"},
          [](Probe& p, const YamlValue&) { p.kind = Probe::Kind::kNone; });
    t.Add({"port", Of(Form::kPortRef), "The port to probe, by number or name.", "the first", "metrics"},
          [](Probe& p, const YamlValue& v) { p.port = IntOf(v); });  // Names are resolved by the loader.
    t.Add({"within",
           Of(Form::kDuration),
           "From start to ready; over it the service has failed.",
           "60s",
           "20s",
           false,
           {"timeout", "deadline", "start_period"}},
          [](Probe& p, const YamlValue& v) { p.within = DurationOf(v); });
    t.SetExclusive(ProbeKinds());
    t.SetRule(CheckHealth);
    return &t;
  }();
  return table;
}

}  // namespace mayfly
