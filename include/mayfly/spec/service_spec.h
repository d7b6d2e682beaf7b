// What a user declared, after types were merged in and before references are resolved.
#ifndef MAYFLY_SPEC_SERVICE_SPEC_H_
#define MAYFLY_SPEC_SERVICE_SPEC_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/spec/process.h"

namespace mayfly {

// When a Dependency is met.
enum class Condition { kStarted, kReady, kCompleted };

struct Dependency {
  std::string node;  // A service, or "<service>.<job>" for a `before` job of another service.
  Condition condition = Condition::kReady;
  SourcePos pos;
};

// Text that may hold ${name.property} references, with the place it came from.
struct Template {
  std::string text;
  SourcePos pos;

  friend bool operator==(const Template& a, const Template& b) { return a.text == b.text; }
};

// Where a merged value came from, for `mayfly explain`.
struct Origin {
  std::string key;    // "env.DATABASE_URL", "health.http", "resources.memory".
  std::string value;  // As text, lists in flow form.
  SourcePos pos;      // File empty for a built-in type.
  std::string layer;  // "service", "type http (envspec.yml)", "type http (built in)".
};

struct FileSpec {
  std::string path;
  Template content;
  int mode = 0444;
};

enum class RestartPolicy { kNever, kOnFailure };

// A one-shot job that must complete before its service starts.
struct JobSpec {
  std::string name;  // Unique within the service; its node is "<service>.<name>".
  std::vector<Template> run;
  std::string workdir;                        // Relative to the service's folder; empty: the folder itself.
  std::map<std::string, Template> variables;  // On top of the service's own.
  std::vector<Dependency> needs;              // On top of the service's own.
  absl::Duration within = absl::Minutes(5);
  SourcePos pos;
};

// A process beside the service; see Sidecar.
struct SidecarSpec {
  std::string name;  // Unique within the service.
  Template image;
  std::vector<Template> run;  // Empty: the image's own command.
  std::map<std::string, Template> variables;
};

struct ServiceSpec {
  std::string name;
  std::string type;       // Built in: http, grpc, worker, job, postgres, redis; or one of envspec.yml's `types`.
  std::string base;       // The built-in type at the bottom of `type`; empty when there is none.
  bool one_shot = false;  // A job: it must exit 0, and READY is never reached, only COMPLETED.
  std::string folder;     // Absolute folder of its service.yml.
  Template image;
  std::vector<Template> run;  // `run` as words plus `args`; empty only when there is an image.
  std::string workdir;        // Relative to `folder`, or absolute.
  std::string user;
  std::vector<Dependency> needs;
  std::map<std::string, Template> variables;
  std::map<std::string, std::string> secrets;  // Variable -> name of the secret, given with the request.
  std::map<std::string, Template> outputs;     // Name -> value others may reference as ${service.name}.
  std::vector<FileSpec> files;
  std::vector<Port> ports;  // ports[0] is what ${x.port} and ${x.address} mean.
  Probe probe;              // `probe.command` holds no references.
  Resources resources;
  StopPolicy stop;
  RestartPolicy restart = RestartPolicy::kNever;
  int max_restarts = 3;
  std::vector<std::string> egress;
  std::vector<JobSpec> before;
  std::vector<std::string> paths;  // Sources that belong to it, relative to the catalogue's root.
  std::vector<std::string> tests;  // Test jobs that cover it, on top of the jobs' own `covers`.
  std::vector<Volume> volumes;     // In order of name, as sidecars are.
  std::vector<SidecarSpec> sidecars;
  int replicas = 1;
  std::vector<std::string> unsupported;  // Keys used that need an engine capability: "volumes", "sidecars", "image".
  SourcePos pos;                         // Of its `name`.
  std::vector<Origin> origins;           // Every value that is set, in order of key.
};

struct TestJobSpec {
  std::string name;
  std::vector<Template> run;
  std::string workdir;  // Relative to the catalogue's root.
  Template image;
  std::vector<Dependency> needs;
  std::vector<std::string> covers;  // Services whose change asks for this job.
  std::map<std::string, Template> variables;
  std::string junit;                   // File it writes, relative to `workdir`; empty: none.
  std::vector<std::string> artifacts;  // Files or folders to keep, relative to `workdir`.
  absl::Duration within = absl::Minutes(10);
  int retries = 0;     // Further tries after a failure; success after one marks the job flaky.
  bool flaky = false;  // Declared flaky: its failure is reported and does not fail the verdict.
  Resources resources;
  std::vector<std::string> egress;
  SourcePos pos;
};

struct Profile {
  std::string name;
  std::optional<absl::Duration> ttl;
};

}  // namespace mayfly

#endif  // MAYFLY_SPEC_SERVICE_SPEC_H_
