// service.yml: one line of documentation, one shape and one setter for each key.
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/text.h"
#include "server/spec/scalars.h"
#include "server/spec/setters.h"
#include "server/spec/tables.h"

namespace mayfly {
namespace {

template <class T>
Table<T>& NewTable(std::string name, std::string doc) {
  return *new Table<T>(std::move(name), std::move(doc));
}

// The loader checks each service and each type by itself, so that it knows which of them is at fault.
Shape Later(const TableInfo& table) {
  Shape shape = Object(table);
  shape.deferred = true;
  return shape;
}

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

const Table<Port>& PortTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Port>("port", "One port of a service. `metrics: 9090` is short for `metrics: {number: 9090}`.");
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
    auto& t = NewTable<Resources>(
        "resources", "Limits of one process tree. What the host cannot enforce is told by `mayfly doctor`.");
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
    auto& t = NewTable<StopPolicy>("stop", "How the process is asked to end.");
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
        NewTable<FileSpec>("file",
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
        NewTable<JobSpec>("before",
                          "A one-shot job that must exit 0 before its service starts. It has the service's variables, "
                          "needs and folder. `migrate: ./migrate` is short for `migrate: {run: ./migrate}`.");
    t.Add({"run", CommandShape(), "The command.", "", "./migrate up", true},
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
    auto& t = NewTable<ServiceSpec>("restart", "`restart: on-failure` is short for `restart: {policy: on-failure}`.");
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

struct Ignored {};

const Table<Ignored>& VolumeTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Ignored>("volume",
                                "Storage that outlives the process. `data: /var/lib/data` is short for `data: {path: "
                                "/var/lib/data}`. Needs an engine that has volumes.");
    t.Add({"path", Of(Form::kPath), "Where it is mounted.", "", "/var/lib/data", true},
          [](Ignored&, const YamlValue&) {});
    t.Add({"size", Of(Form::kSize), "How large it is.", "", "1Gi"}, [](Ignored&, const YamlValue&) {});
    return &t;
  }();
  return table;
}

const Table<Ignored>& SidecarTable() {
  static const auto& table = *[] {
    auto& t =
        NewTable<Ignored>("sidecar",
                          "A process that runs beside the service and shares its network. Needs an engine that has "
                          "sidecars.");
    t.Add({"image", Of(Form::kText), "Its image.", "", "envoyproxy/envoy:v1.30"}, [](Ignored&, const YamlValue&) {});
    t.Add({"run", CommandShape(), "Its command.", "", "./proxy"}, [](Ignored&, const YamlValue&) {});
    t.Add({"env", MapOf(Form::kVariable, Of(Form::kTemplate)), "Its variables.", "", "{LEVEL: info}"},
          [](Ignored&, const YamlValue&) {});
    return &t;
  }();
  return table;
}

// Ports of `ports:`, in their order, behind the one of `port:`.
void SetPorts(ServiceSpec& service, const YamlValue& value) {
  for (const YamlEntry& entry : value.entries) {
    Port port;
    port.name = entry.key;
    port = PortTable().Bind(*entry.value, port);
    auto same = absl::c_find_if(service.ports, [&](const Port& p) { return p.name == port.name; });
    if (same != service.ports.end()) {
      *same = port;
    } else {
      service.ports.push_back(port);
    }
  }
}

void SetBefore(ServiceSpec& service, const YamlValue& value) {
  for (const YamlEntry& entry : value.entries) {
    JobSpec job;
    job.name = entry.key;
    job.pos = {value.Pos().file, entry.line, entry.column};
    service.before.push_back(BeforeTable().Bind(*entry.value, job));
  }
}

void SetFiles(ServiceSpec& service, const YamlValue& value) {
  for (const YamlEntry& entry : value.entries) {
    FileSpec file;
    file.path = entry.key;
    file.content.pos = {entry.value->Pos()};
    service.files.push_back(FileTable().Bind(*entry.value, file));
  }
}

void SetExpose(ServiceSpec& service, const YamlValue& value) {
  if (value.IsScalar() && BoolOf(value) && !service.ports.empty()) service.ports.front().expose = true;
  for (const YamlRef& name : value.items) {
    for (Port& port : service.ports) port.expose |= port.name == name->text;
  }
}

// A key that the engine must be able to do; the value itself is read by engines that can.
Table<ServiceSpec>::Setter Unsupported(std::string key) {
  return [key](ServiceSpec& s, const YamlValue&) { s.unsupported.push_back(key); };
}

void AddProcess(Table<ServiceSpec>& t) {
  t.Add({"name", Of(Form::kName),
         "Other services need it, reach it and refer to it by this name. Inside an environment it is also its "
         "host name.",
         "", "checkout", true},
        [](ServiceSpec& s, const YamlValue& v) {
          s.name = v.text;
          s.pos = v.Pos();
        });
  t.Add({"type", Of(Form::kName),
         "Where its defaults come from: http, grpc, worker, job, postgres, redis, or one of the envspec's `types`.", "",
         "http", true},
        [](ServiceSpec& s, const YamlValue& v) { s.type = v.text; });
  t.Add({"image", Of(Form::kText),
         "Container image. The local engine runs `run` instead, on the host's root file system.", "", "shop/checkout"},
        [](ServiceSpec& s, const YamlValue& v) { s.image = v.text; });
  t.Add({"run",
         CommandShape(),
         "The process: a text of words (quotes work as in a shell, nothing else of a shell does) or a list.",
         "",
         "./checkout --verbose",
         false,
         {"command", "cmd", "entrypoint", "exec"}},
        [](ServiceSpec& s, const YamlValue& v) { s.run = CommandOf(v); });
  t.Add({"args", ListOf(Of(Form::kTemplate)), "Appended to `run`.", "", "[--port, \"${self.port}\"]"},
        [](ServiceSpec& s, const YamlValue& v) {
          for (Template& word : TemplatesOf(v)) s.run.push_back(std::move(word));
        });
  t.Add({"workdir",
         Of(Form::kPath),
         "Where it runs, relative to its folder.",
         "its folder",
         "build",
         false,
         {"working_dir", "cwd", "dir"}},
        [](ServiceSpec& s, const YamlValue& v) { s.workdir = v.text; });
  t.Add({"user", Of(Form::kText),
         "User inside the image. Needs an engine that has users; the local engine always runs as an ordinary one.", "",
         "nobody"},
        [](ServiceSpec& s, const YamlValue& v) {
          s.user = v.text;
          s.unsupported.push_back("user");
        });
  t.Add({"needs",
         NeedsShape(),
         "What must be there before it starts: *ready* unless said otherwise (`{x: started}`), *completed* for jobs.",
         "",
         "[postgres, {migrate: completed}]",
         false,
         {"depends_on", "dependsOn", "dependencies", "requires", "after"}},
        [](ServiceSpec& s, const YamlValue& v) { s.needs = NeedsOf(v); });
  t.Add({"env",
         MapOf(Form::kVariable, Of(Form::kTemplate)),
         "Environment variables. References join services to the environment without "
         "ordering their start.",
         "",
         "{DATABASE_URL: \"${postgres.url}\"}",
         false,
         {"environment", "variables", "vars"}},
        [](ServiceSpec& s, const YamlValue& v) { s.variables = TemplateMapOf(v); });
  t.Add({"secrets", MapOf(Form::kVariable, Of(Form::kText)),
         "Variable -> name of a secret that whoever starts the environment gives.", "", "{STRIPE_KEY: stripe}"},
        [](ServiceSpec& s, const YamlValue& v) {
          for (const YamlEntry& entry : v.entries) s.secrets[entry.key] = entry.value->text;
        });
  t.Add({"files", MapOf(Form::kPath, Either(Of(Form::kTemplate), Object(FileTable()), "content")),
         "Configuration files: path, absolute or relative to `workdir`, -> text.", "",
         "{app.conf: \"listen ${self.port}\"}"},
        SetFiles);
  t.Add({"outputs", MapOf(Form::kOutput, Of(Form::kTemplate)),
         "Values that others may use as ${name.key}. `url` is set by most types.", "",
         "{dsn: \"host=${self.host} port=${self.port}\"}"},
        [](ServiceSpec& s, const YamlValue& v) { s.outputs = TemplateMapOf(v); });
}

void AddNetwork(Table<ServiceSpec>& t) {
  t.Add({"port", Int(1, 65535), "The port that it listens on: ${name.port}. Replaces inherited `ports`.", "by type",
         "8080"},
        [](ServiceSpec& s, const YamlValue& v) { s.ports.insert(s.ports.begin(), Port{"main", IntOf(v)}); });
  t.Add({"ports", MapOf(Form::kName, Either(Int(1, 65535), Object(PortTable()), "number")),
         "Several ports by name; the first is ${name.port}, each is ${name.port.<port>}. Replaces an inherited `port`.",
         "", "{http: 8080, metrics: 9090}"},
        SetPorts);
  t.Add({"expose", Either(Of(Form::kBool), ListOf(Of(Form::kName))),
         "Reachable from the host on loopback: the first port, or those named.", "false", "true"},
        SetExpose);
  t.Add({"health",
         Either(Words({"tcp", "grpc", "notify", "none"}), Object(HealthTable()), "*"),
         "How mayfly knows that it is ready. `health: tcp` is short for `health: {tcp: true}`.",
         "by type",
         "{http: /healthz}",
         false,
         {"healthcheck", "readiness", "probe", "ready"}},
        [](ServiceSpec& s, const YamlValue& v) { s.probe = HealthTable().Bind(v, s.probe); });
  t.Add(
      {"egress", ListOf(Of(Form::kHostPort)),
       "What outside of the environment it may reach, through a proxy; otherwise nothing.", "", "[api.stripe.com:443]"},
      [](ServiceSpec& s, const YamlValue& v) { s.egress = TextsOf(v); });
}

void AddLife(Table<ServiceSpec>& t) {
  t.Add({"before",
         MapOf(Form::kName, Either(CommandShape(), Object(BeforeTable()), "run")),
         "One-shot jobs that must complete before it starts.",
         "",
         "{migrate: ./migrate up}",
         false,
         {"init", "pre", "hooks"}},
        SetBefore);
  t.Add({"stop", Object(StopTable()), "How it is stopped.", "by type", "{signal: INT, grace: 10s}"},
        [](ServiceSpec& s, const YamlValue& v) { s.stop = StopTable().Bind(v, s.stop); });
  t.Add({"restart", Either(Words({"never", "on-failure"}), Object(RestartTable()), "policy"),
         "Whether it is started again when it ends by itself.", "never", "on-failure"},
        [](ServiceSpec& s, const YamlValue& v) { s = RestartTable().Bind(v, s); });
  t.Add({"resources", Object(ResourcesTable()), "Its limits.", "by type", "{memory: 128Mi}", false, {"limits"}},
        [](ServiceSpec& s, const YamlValue& v) { s.resources = ResourcesTable().Bind(v, s.resources); });
  t.Add({"replicas", Int(1, 100), "How many of it run. More than one needs an engine that has replicas.", "1", "2"},
        [](ServiceSpec& s, const YamlValue& v) {
          s.replicas = IntOf(v);
          if (s.replicas > 1) s.unsupported.push_back("replicas");
        });
  t.Add({"volumes", MapOf(Form::kName, Either(Of(Form::kPath), Object(VolumeTable()), "path")),
         "Storage that outlives the process.", "", "{data: /var/lib/data}"},
        Unsupported("volumes"));
  t.Add({"sidecars", MapOf(Form::kName, Object(SidecarTable())), "Processes beside it.", "",
         "{proxy: {image: envoyproxy/envoy:v1.30}}"},
        Unsupported("sidecars"));
  t.Add({"paths", ListOf(Of(Form::kInnerPath)),
         "Sources that belong to it, relative to the root: a change in them concerns it.", "its folder",
         "[services/checkout, lib/money]"},
        [](ServiceSpec& s, const YamlValue& v) { s.paths = TextsOf(v); });
  t.Add({"tests", ListOf(Of(Form::kName)), "Test jobs that cover it, beside those that say so themselves.", "",
         "[checkout-e2e]"},
        [](ServiceSpec& s, const YamlValue& v) { s.tests = TextsOf(v); });
}

}  // namespace

const Table<Probe>& HealthTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Probe>("health", "One way to probe, and how long it may take.");
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
    t.Add({"port", Either(Int(1, 65535), Of(Form::kName)), "The port to probe, by number or name.", "the first",
           "metrics"},
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

const Table<ServiceSpec>& ServiceTable() {
  static const auto& table = *[] {
    auto& t = NewTable<ServiceSpec>(
        "service",
        "`service.yml` in the service's own folder, a service written inline in the envspec, or (without "
        "`name`) a type.");
    AddProcess(t);
    AddNetwork(t);
    AddLife(t);
    t.SetExclusive({"port", "ports"});
    return &t;
  }();
  return table;
}

const Table<TestJobSpec>& TestTable() {
  static const auto& table = *[] {
    auto& t = NewTable<TestJobSpec>(
        "test", "A test job: it runs in the environment once what it needs is ready, and passes by exiting 0.");
    t.Add({"run", CommandShape(), "The command.", "", "[pytest, -q, --junitxml=report.xml]", true, {"command", "cmd"}},
          [](TestJobSpec& j, const YamlValue& v) { j.run = CommandOf(v); });
    t.Add({"workdir", Of(Form::kInnerPath), "Where it runs, relative to the root.", "the root", "tests"},
          [](TestJobSpec& j, const YamlValue& v) { j.workdir = v.text; });
    t.Add({"image", Of(Form::kText), "Container image, for engines that have images.", "", "shop/e2e"},
          [](TestJobSpec& j, const YamlValue& v) { j.image = v.text; });
    t.Add({"needs",
           NeedsShape(),
           "What must be ready (jobs: completed) before it runs.",
           "",
           "[gateway]",
           false,
           {"depends_on"}},
          [](TestJobSpec& j, const YamlValue& v) { j.needs = NeedsOf(v); });
    t.Add({"covers", ListOf(Of(Form::kName)), "Services whose change asks for this job.", "", "[checkout, cart]"},
          [](TestJobSpec& j, const YamlValue& v) { j.covers = TextsOf(v); });
    t.Add({"env",
           MapOf(Form::kVariable, Of(Form::kTemplate)),
           "Its variables.",
           "",
           "{BASE_URL: \"${gateway.url}\"}",
           false,
           {"environment"}},
          [](TestJobSpec& j, const YamlValue& v) { j.variables = TemplateMapOf(v); });
    t.Add({"junit", Of(Form::kInnerPath), "The JUnit file that it writes, relative to `workdir`.", "", "report.xml"},
          [](TestJobSpec& j, const YamlValue& v) { j.junit = v.text; });
    t.Add({"artifacts", ListOf(Of(Form::kInnerPath)), "Files and folders to keep, relative to `workdir`.", "",
           "[screenshots]"},
          [](TestJobSpec& j, const YamlValue& v) { j.artifacts = TextsOf(v); });
    t.Add({"within", Of(Form::kDuration), "Over it the job has failed.", "10m", "2m", false, {"timeout"}},
          [](TestJobSpec& j, const YamlValue& v) { j.within = DurationOf(v); });
    t.Add({"retries", Int(0, 10), "Further tries after a failure; success after one marks it flaky.", "0", "1"},
          [](TestJobSpec& j, const YamlValue& v) { j.retries = IntOf(v); });
    t.Add({"flaky", Of(Form::kBool), "Known to be flaky: its failure is reported and does not fail the verdict.",
           "false", "true"},
          [](TestJobSpec& j, const YamlValue& v) { j.flaky = BoolOf(v); });
    t.Add({"resources", Object(ResourcesTable()), "Its limits.", "", "{memory: 512Mi}"},
          [](TestJobSpec& j, const YamlValue& v) { j.resources = ResourcesTable().Bind(v, j.resources); });
    t.Add({"egress", ListOf(Of(Form::kHostPort)), "What outside of the environment it may reach.", "",
           "[api.stripe.com:443]"},
          [](TestJobSpec& j, const YamlValue& v) { j.egress = TextsOf(v); });
    return &t;
  }();
  return table;
}

const Table<Profile>& ProfileTable() {
  static const auto& table = *[] {
    auto& t = NewTable<Profile>("profile", "Named settings of an environment, chosen with --profile.");
    t.Add({"ttl", Of(Form::kDuration), "How long an environment lives.", "8h", "1h"},
          [](Profile& p, const YamlValue& v) { p.ttl = DurationOf(v); });
    return &t;
  }();
  return table;
}

const Table<EnvspecHead>& EnvspecTable() {
  static const auto& table = *[] {
    auto& t = NewTable<EnvspecHead>("envspec", "`envspec.yml`, at the root of a repository.");
    const auto nothing = [](EnvspecHead&, const YamlValue&) {};
    t.Add({"name", Of(Form::kName), "Name of the whole; environments are named after it.", "the folder's name", "shop"},
          [](EnvspecHead& e, const YamlValue& v) { e.name = v.text; });
    t.Add({"services",
           Either(ListOf(Either(Of(Form::kText), Later(ServiceTable()))), MapOf(Form::kName, Later(ServiceTable()))),
           "Folders that hold a service.yml (`*` stands for any one folder name) or services written out, with their "
           "name; or a map of services by name.",
           "", "[services/*, infra/*]", true},
          nothing);
    t.Add({"types", MapOf(Form::kName, Later(ServiceTable())),
           "Defaults for services of a type, on top of the built-in type of the same name "
           "or of the one under `type`.",
           "", "{http: {port: 8080}}"},
          nothing);
    t.Add({"tests", MapOf(Form::kName, Object(TestTable())), "Test jobs by name.", "",
           "{e2e: {run: ./e2e.sh, needs: [gateway]}}"},
          nothing);
    t.Add({"profiles", MapOf(Form::kName, Object(ProfileTable())), "Named settings.", "", "{pr: {ttl: 1h}}"}, nothing);
    return &t;
  }();
  return table;
}

std::vector<const TableInfo*> AllTables() {
  return {&ServiceTable(), &PortTable(),    &HealthTable(), &FileTable(),   &ResourcesTable(),
          &StopTable(),    &RestartTable(), &BeforeTable(), &VolumeTable(), &SidecarTable(),
          &EnvspecTable(), &TestTable(),    &ProfileTable()};
}

}  // namespace mayfly
