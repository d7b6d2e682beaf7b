// envspec.yml.
#include "server/spec/setters.h"
#include "server/spec/tables.h"

namespace mayfly {
namespace {

// The loader checks each service and each type by itself, so that it knows which of them is at fault.
Shape Later(const TableInfo& table) {
  Shape shape = Object(table);
  shape.deferred = true;
  return shape;
}

Shape TypesShape() {
  Shape shape = MapOf(Form::kName, Later(ServiceTable()));
  shape.partial = true;
  return shape;
}

}  // namespace

const Table<TestJobSpec>& TestTable() {
  static const auto& table = *[] {
    auto& t = NewTable<TestJobSpec>(
        "test", "the test",
        "A test job: it runs in the environment once what it needs is ready, and passes by exiting 0.");
    t.Add({"run", CommandShape(), "The command.", "", "[pytest, -q, --junitxml=report.xml]", true, {"command", "cmd"}},
          [](TestJobSpec& j, const YamlValue& v) { j.run = CommandOf(v); });
    t.Add({"workdir", Of(Form::kInnerPath), "Where it runs, relative to the root.", "the root", "tests"},
          [](TestJobSpec& j, const YamlValue& v) { j.workdir = v.text; });
    t.Add({"image", Of(Form::kTemplate),
           "Container image, needed on Kubernetes; its working directory stands for the root.", "", "shop/tests:1"},
          [](TestJobSpec& j, const YamlValue& v) { j.image = TemplateOf(v); });
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
    auto& t = NewTable<Profile>("profile", "the profile", "Named settings of an environment, chosen with --profile.");
    t.Add({"ttl", Of(Form::kDuration), "How long an environment lives.", "8h", "1h"},
          [](Profile& p, const YamlValue& v) { p.ttl = DurationOf(v); });
    return &t;
  }();
  return table;
}

const Table<EnvspecHead>& EnvspecTable() {
  static const auto& table = *[] {
    auto& t = NewTable<EnvspecHead>("envspec", "the envspec", "`envspec.yml`, at the root of a repository.");
    const auto nothing = [](EnvspecHead&, const YamlValue&) {};
    t.Add({"name", Of(Form::kName), "Name of the whole; environments are named after it.", "the folder's name", "shop"},
          [](EnvspecHead& e, const YamlValue& v) { e.name = v.text; });
    t.Add({"services",
           Either(ListOf(Either(Of(Form::kText), Later(ServiceTable()))), MapOf(Form::kName, Later(ServiceTable()))),
           "Folders that hold a service.yml (`*` stands for any one folder name) or services written out, with their "
           "name; or a map of services by name.",
           "", "[services/*, infra/*]", true},
          nothing);
    t.Add({"types", TypesShape(),
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
