// Declared nodes to processes: fills in references, defaults and secrets.
#ifndef MAYFLY_SERVER_PLAN_RESOLVER_H_
#define MAYFLY_SERVER_PLAN_RESOLVER_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mayfly/base/diagnostic.h"
#include "mayfly/spec/catalogue.h"
#include "mayfly/spec/environment_request.h"
#include "mayfly/spec/process.h"
#include "mayfly/spec/reference.h"
#include "server/plan/declared.h"
#include "server/plan/planner.h"

namespace mayfly {

// Lives for one plan. None of the references is owned; all must outlive it.
class Resolver {
 public:
  // `images`: for an engine that runs images; without them `image` keys are as if they were not there.
  Resolver(const Catalogue& catalogue, const EnvironmentRequest& request, bool images);

  // The process of a node, everything filled in. An unset variable or a missing secret becomes a diagnostic.
  ProcessSpec Resolve(const Declared& declared);

  Diagnostics TakeDiagnostics() { return std::move(diagnostics_); }

 private:
  std::string Fill(const Template& text, const ServiceSpec* self);
  std::string Value(const Reference& reference, const Template& text, const ServiceSpec* self);
  std::string Variable(const std::string& name, const Template& text);
  void FillVariables(const std::map<std::string, Template>& variables, const ServiceSpec* self, ProcessSpec& process);
  void FillParts(const ServiceSpec& service, ProcessSpec& process);
  void FillSecrets(const ServiceSpec& service, ProcessSpec& process);
  void Complain(const SourcePos& pos, std::string message, std::string hint);

  const Catalogue& catalogue_;
  const EnvironmentRequest& request_;
  const bool images_;
  const std::string environment_;
  std::map<std::string, std::string> outputs_;  // "service.output" -> filled value.
  std::set<std::string> filling_;               // Outputs on the way; the loader has refused circles.
  std::set<std::string> complained_;
  Diagnostics diagnostics_;
};

// Hex SHA-256 over what makes a restart necessary; see planner.h. `sources`: files and folders that it is made of.
std::string DigestOf(const ProcessSpec& process, const std::vector<std::string>& sources,
                     const Fingerprint& fingerprint);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_RESOLVER_H_
