// service.yml.
#include <utility>

#include "absl/algorithm/container.h"
#include "server/spec/setters.h"
#include "server/spec/tables.h"

namespace mayfly {
namespace {

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

void SetVolumes(ServiceSpec& service, const YamlValue& value) {
  service.unsupported.push_back("volumes");
  for (const YamlEntry& entry : value.entries) {
    Volume volume;
    volume.name = entry.key;
    service.volumes.push_back(VolumeTable().Bind(*entry.value, volume));
  }
  absl::c_sort(service.volumes, [](const Volume& a, const Volume& b) { return a.name < b.name; });
}

void SetSidecars(ServiceSpec& service, const YamlValue& value) {
  service.unsupported.push_back("sidecars");
  for (const YamlEntry& entry : value.entries) {
    SidecarSpec sidecar;
    sidecar.name = entry.key;
    service.sidecars.push_back(SidecarTable().Bind(*entry.value, sidecar));
  }
  absl::c_sort(service.sidecars, [](const SidecarSpec& a, const SidecarSpec& b) { return a.name < b.name; });
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
  t.Add(
      {"image", Of(Form::kTemplate),
       "Container image, needed on Kubernetes; its working directory stands for the service's folder. The local engine "
       "runs `run` on the host's root file system instead.",
       "", "shop/${self.host}:${env.TAG}"},
      [](ServiceSpec& s, const YamlValue& v) { s.image = TemplateOf(v); });
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
        SetVolumes);
  t.Add({"sidecars", MapOf(Form::kName, Object(SidecarTable())), "Processes beside it.", "",
         "{proxy: {image: envoyproxy/envoy:v1.30}}"},
        SetSidecars);
  t.Add({"paths", ListOf(Of(Form::kInnerPath)),
         "Sources that belong to it, relative to the root: a change in them concerns it.", "its folder",
         "[services/checkout, lib/money]"},
        [](ServiceSpec& s, const YamlValue& v) { s.paths = TextsOf(v); });
  t.Add({"tests", ListOf(Of(Form::kName)), "Test jobs that cover it, beside those that say so themselves.", "",
         "[checkout-e2e]"},
        [](ServiceSpec& s, const YamlValue& v) { s.tests = TextsOf(v); });
}

}  // namespace

const Table<ServiceSpec>& ServiceTable() {
  static const auto& table = *[] {
    auto& t = NewTable<ServiceSpec>(
        "service", "the service",
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

}  // namespace mayfly
