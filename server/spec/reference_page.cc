#include "server/spec/reference_page.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/spec/builtin_types.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/shape_text.h"
#include "server/spec/tables.h"
#include "server/spec/yaml_reader.h"

namespace mayfly {
namespace {

constexpr char kIntroduction[] = R"(# The spec format

<!-- Made from the decoding tables in server/spec by `MAYFLY_UPDATE_GOLDENS=1`; a test fails when it is stale. -->

Two kinds of files: a `service.yml` in each service's own folder, and one `envspec.yml` at the root of the repository.
`mayfly init` writes a first service.yml, `mayfly lint` checks everything without starting anything, `mayfly explain SERVICE` shows
what a service comes to and where each value is from, and `mayfly schema` prints what editors need to complete and check.

```yaml
# services/checkout/service.yml
name: checkout
type: http                      # defaults by type: port, probe, url, limits, stop signal
run: ./checkout
needs: [postgres, {migrate: completed}]
env:
  DATABASE_URL: ${postgres.url}
  CART: http://${cart.address}  # a reference, not a need: cart joins the environment, order stays free
```

```yaml
# envspec.yml
name: shop
services: [services/*, infra/*]
types:
  http: {port: 8080, health: {http: /healthz}, resources: {memory: 128Mi}}
tests:
  checkout-e2e: {run: [pytest, -q, --junitxml=report.xml], workdir: tests, needs: [gateway], covers: [checkout, cart], junit: report.xml, within: 2m}
profiles:
  pr: {ttl: 1h}
```

## Meaning

**Order** follows `needs` only. A service waits until what it needs is *ready*; `{x: started}` waits less; a job (a service of type `job`,
or a `before` job, named `<service>.<job>`) must have *completed*, whatever the word.

**Selection** follows `needs` and references, transitively: who is asked for brings what it names. `mayfly plan` prints why each node
is there. Without names all services are chosen. `mayfly run SERVICE` takes the tests that cover that service: those with it under
`covers`, and those under its own `tests`.

**Types** are partial services. A service overrides its type key by key: maps merge, lists and single values replace. A type of the
envspec stands on the built-in type of the same name, or on the one under its own `type`. Ways of probing replace each other, and so do
`port` and `ports`.

**Commands** are started directly, never by a shell. A text is split into words; quotes work as in a shell, and whatever else only a
shell knows (`&&`, `|`, `>`, `$VAR`) is an error that says so. `run: [sh, -c, "..."]` has a shell.

**References** are filled in when planning, into parsed values; text is never pasted into YAML.

| Reference | Value |
| --- | --- |
| `${cart.host}` | its host name inside the environment, which is its name |
| `${cart.port}`, `${cart.port.metrics}` | its first port, or the named one |
| `${cart.address}`, `${cart.address.metrics}` | `host:port` |
| `${cart.url}` | its output `url`, which the types http, grpc, postgres and redis set |
| `${cart.KEY}` | its output of that name |
| `${self....}` | the service's own; not in tests |
| `${env.name}` | the environment's name |
| `${env.KEY}` | what `--set KEY=VALUE` or `--env-file` gave; an error when nothing did |
| `$${` | the text `${` itself |

They work in `run`, `args`, `env`, `files`, `outputs`, and in `run` and `env` of jobs and tests. Inside `[...]` and `{...}` YAML wants quotes around
them. `health.run` knows `${self.host}` and `${self.port}` only.

**Variables** of a process, later ones over earlier: `env` of the service (a job's on top), what the request sets for a name among them,
`secrets`, and `MAYFLY_ENVIRONMENT` and `MAYFLY_SERVICE`.

**Values.** A duration is `250ms`, `90s`, `5m`, `2h`, `14d`; a size is `64Ki`, `128Mi`, `2Gi`, or `500M` in powers of 1000; both need their unit.
A boolean is `true` or `false`; `yes`, `no`, `on`, `off` and numbers with a leading zero mean different things to different readers of YAML and
are errors without quotes. So are unknown keys, duplicate keys, tags, merge keys (`<<`) and a second document in a file. Names are DNS labels
of at most 40 characters.

)";

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

// What a value is, with a link to the table of a map that has one.
std::string Describe(const Shape& shape) {
  switch (shape.form) {
    case Form::kTable:
      return absl::StrCat("[", shape.table->name(), "](#",
                          shape.table->name() == "service" ? "serviceyml" : shape.table->name(), ")");
    case Form::kEither:
      return absl::StrCat(Describe(*shape.item), ", or ", Describe(*shape.other));
    case Form::kMap:
      return absl::StrCat("a map to: ", Describe(*shape.item));
    case Form::kList:
      return shape.item->form == Form::kEither ? absl::StrCat("a list of: ", Describe(*shape.item))
                                               : Escaped(Expected(shape));
    default:
      return Escaped(Expected(shape));
  }
}

std::string Section(const TableInfo& table, absl::string_view title) {
  std::string out =
      absl::StrCat("## ", title, "\n\n", table.doc(),
                   "\n\n| Key | Value | Default | Meaning | Example |\n| --- | --- | --- | --- | --- |\n");
  for (const FieldInfo& field : table.fields()) {
    absl::StrAppend(&out, "| `", field.key, "`", field.required ? " (required)" : "", " | ", Describe(field.shape),
                    " | ", Escaped(field.fallback), " | ", Escaped(field.doc), " | `", field.key, ": ",
                    Escaped(field.example), "` |\n");
  }
  return absl::StrCat(out, "\n");
}

}  // namespace

std::string ReferencePage() {
  std::string out = kIntroduction;
  for (const TableInfo* table : AllTables()) {
    const std::string& name = table->name();
    absl::StrAppend(&out, Section(*table, name == "service"   ? "service.yml"
                                          : name == "envspec" ? "envspec.yml"
                                                              : absl::StrCat("`", name, "`")));
  }
  absl::StrAppend(&out, "## Built-in types\n\nAs if they stood under `types`:\n\n```yaml\n", BuiltinTypesText(),
                  "```\n\n");
  absl::StrAppend(&out,
                  "A service of type `job` runs once and must exit 0; `health.within` is its deadline. `postgres` and "
                  "`redis` need a `run` as every other\n"
                  "type does.\n\n## Limits\n\n| What | At most |\n| --- | --- |\n");
  absl::StrAppend(&out, "| One spec file | ", kMaxSpecBytes >> 20, " MiB |\n| Depth of nesting | ", kMaxYamlDepth,
                  " |\n| Values in one file, aliases expanded | ", kMaxYamlNodes, " |\n| Services | ", kMaxServices,
                  " |\n| Needs and references together | ", kMaxEdges, " |\n");
  absl::StrAppend(&out,
                  "\nNothing outside of the root folder is read: `..`, absolute folders and symbolic links that lead "
                  "out are errors.\n");
  return out;
}

}  // namespace mayfly
