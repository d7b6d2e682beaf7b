#include "server/plan/lint.h"

#include <utility>

#include "absl/strings/match.h"
#include "mayfly/spec/reference.h"
#include "server/plan/declared.h"
#include "server/plan/graph.h"
#include "server/plan/planner.h"

namespace mayfly {
namespace {

// A request that lacks nothing that the catalogue asks for.
EnvironmentRequest Everything(const Catalogue& catalogue) {
  EnvironmentRequest request;
  request.all_tests = true;
  const auto give = [&](const Declared& declared) {
    for (const PlacedTemplate& placed : TemplatesOfNode(declared)) {
      for (const Reference& reference : ReferencesOf(placed.text->text)) {
        if (reference.target == "env") request.variables[reference.property] = "x";
      }
    }
  };
  for (const auto& [name, service] : catalogue.services) {
    give({&service});
    for (const JobSpec& job : service.before) give({&service, &job});
    for (const auto& [variable, secret] : service.secrets) request.secrets[secret] = "x";
  }
  for (const auto& [name, test] : catalogue.tests) give({nullptr, nullptr, &test});
  return request;
}

}  // namespace

Diagnostics LintPlan(const LoadedCatalogue& loaded) {
  Capabilities all;
  all.images = all.replicas = all.volumes = all.sidecars = all.users = true;
  PlanResult result = MakePlan(loaded.catalogue, Everything(loaded.catalogue), all, {});
  Diagnostics out;
  for (Diagnostic& d : result.diagnostics) {
    if (loaded.ok() || absl::StartsWith(d.message, kCircle)) out.push_back(std::move(d));
  }
  return out;
}

}  // namespace mayfly
