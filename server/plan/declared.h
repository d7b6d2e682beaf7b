// A node as it is declared, whichever of the three kinds it is: the common view of selecting and planning.
#ifndef MAYFLY_SERVER_PLAN_DECLARED_H_
#define MAYFLY_SERVER_PLAN_DECLARED_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "mayfly/plan/plan.h"
#include "mayfly/spec/catalogue.h"

namespace mayfly {

// Pointers are into the catalogue and not owned. Exactly one of (service), (service and job), (test) is set.
struct Declared {
  const ServiceSpec* service = nullptr;
  const JobSpec* job = nullptr;
  const TestJobSpec* test = nullptr;

  bool found() const { return service != nullptr || test != nullptr; }
  NodeKind kind() const;
};

// By node name: "checkout", "checkout.migrate", "checkout-e2e".
Declared FindDeclared(const Catalogue& catalogue, absl::string_view node);

// What must be met before it starts: its own needs, a job's service's needs too, a service's `before` jobs too. One
// entry for each node, with the strongest condition, in order of name.
std::vector<Dependency> NeedsOfNode(const Declared& declared);

// A template of the node and where it stands: "env.CART", "run", "files./etc/app.conf".
struct PlacedTemplate {
  std::string place;
  const Template* text;
};
std::vector<PlacedTemplate> TemplatesOfNode(const Declared& declared);

}  // namespace mayfly

#endif  // MAYFLY_SERVER_PLAN_DECLARED_H_
