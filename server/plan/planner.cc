#include "server/plan/planner.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/text.h"
#include "server/plan/declared.h"
#include "server/plan/graph.h"
#include "server/plan/resolver.h"
#include "server/plan/selector.h"

namespace mayfly {
namespace {

// What a node takes when it was never measured: only the order of priorities comes from it.
absl::Duration Guess(const Declared& declared) {
  if (declared.test != nullptr) return absl::Seconds(5);
  if (declared.kind() == NodeKind::kJob) return absl::Seconds(1);
  if (declared.service->probe.kind == Probe::Kind::kNone) return absl::Milliseconds(5);
  if (declared.service->base == "postgres") return absl::Seconds(2);
  if (declared.service->base == "redis") return absl::Milliseconds(100);
  return absl::Milliseconds(500);
}

// The place of a key of a service; of its name when the key stands elsewhere.
SourcePos PlaceOf(const ServiceSpec& service, const std::string& key) {
  for (const Origin& origin : service.origins) {
    const bool below = absl::StartsWith(origin.key, key + ".");
    if ((origin.key == key || below) && !origin.pos.file.empty()) return origin.pos;
  }
  return service.pos;
}

// A plan is of one moment, and most words that might name a file are in many services.
Fingerprint EachOnce(const Fingerprint& fingerprint) {
  if (!fingerprint) return nullptr;
  return [fingerprint, known = std::make_shared<std::map<std::string, std::string>>()](const std::string& path) {
    const auto [it, first] = known->try_emplace(path);
    if (first) it->second = fingerprint(path);
    return it->second;
  };
}

class Planner {
 public:
  Planner(const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities& capabilities,
          const std::map<std::string, absl::Duration>& start_times, const Fingerprint& fingerprint)
      : catalogue_(catalogue),
        request_(request),
        capabilities_(capabilities),
        start_times_(start_times),
        fingerprint_(EachOnce(fingerprint)),
        resolver_(catalogue, request, capabilities.images) {}

  PlanResult Run() {
    Selection selection = Select(catalogue_, request_);
    Add(std::move(selection.diagnostics));
    CheckProfile();
    for (auto& [name, why] : selection.nodes) AddNode(name, std::move(why));
    Add(resolver_.TakeDiagnostics());
    AddEdges();
    Add(FindCycles(nodes_, Roots(selection)));
    if (nodes_.empty() && !HasErrors(result_.diagnostics)) {
      Complain({catalogue_.root}, "there is nothing to run: no service and no test was chosen", "name a service");
    }
    if (result_.ok()) Finish();
    return std::move(result_);
  }

 private:
  void Add(Diagnostics diagnostics) {
    for (Diagnostic& d : diagnostics) result_.diagnostics.push_back(std::move(d));
  }

  void Complain(const SourcePos& pos, std::string message, std::string hint) {
    result_.diagnostics.push_back({Severity::kError, pos, std::move(message), std::move(hint)});
  }

  void CheckProfile() {
    if (request_.profile.empty() || catalogue_.profiles.count(request_.profile) > 0) return;
    std::vector<std::string> names;
    for (const auto& entry : catalogue_.profiles) names.push_back(entry.first);
    const std::string near = Nearest(request_.profile, names);
    Complain({},
             absl::StrCat("there is no profile '", EscapeLine(absl::string_view(request_.profile).substr(0, 80)),
                          "' in '", catalogue_.name, "'"),
             !near.empty()   ? absl::StrCat("did you mean '", near, "'?")
             : names.empty() ? "the envspec has no profiles"
                             : absl::StrCat("there are ", absl::StrJoin(names, ", ")));
  }

  void AddNode(const std::string& name, std::vector<std::string> why) {
    const Declared declared = FindDeclared(catalogue_, name);
    CheckImage(declared);
    if (declared.service != nullptr && declared.job == nullptr) CheckCapabilities(*declared.service);
    PlanNode node;
    node.name = name;
    node.kind = declared.kind();
    node.process = resolver_.Resolve(declared);
    node.why = std::move(why);
    const auto measured = start_times_.find(name);
    node.measured = measured != start_times_.end();
    node.expected = node.measured ? measured->second : Guess(declared);
    node.digest = DigestOf(node.process, SourcesOf(declared), fingerprint_);
    if (declared.service != nullptr && declared.job == nullptr) {
      node.restart = declared.service->restart;
      node.max_restarts = declared.service->max_restarts;
    }
    if (declared.test != nullptr) {
      node.junit = declared.test->junit;
      node.artifacts = declared.test->artifacts;
      node.retries = declared.test->retries;
      node.flaky = declared.test->flaky;
    }
    index_[name] = static_cast<int>(nodes_.size());
    nodes_.push_back(std::move(node));
    declared_.push_back(declared);
  }

  std::vector<std::string> SourcesOf(const Declared& declared) const {
    std::vector<std::string> sources;
    if (declared.service == nullptr) return sources;
    const ServiceSpec& service = *declared.service;
    if (absl::StartsWith(service.folder, catalogue_.root + "/")) sources.push_back(service.folder);
    for (const std::string& path : service.paths) sources.push_back(absl::StrCat(catalogue_.root, "/", path));
    return sources;
  }

  void CheckImage(const Declared& declared) {
    const Template& image = declared.test != nullptr ? declared.test->image : declared.service->image;
    if (!capabilities_.needs_images || !image.text.empty()) return;
    const std::string& name = declared.test != nullptr ? declared.test->name : declared.service->name;
    const SourcePos& pos = declared.test != nullptr ? declared.test->pos : declared.service->pos;
    if (declared.job != nullptr) return;  // Its service is told.
    Complain(pos,
             absl::StrCat("'", name, "' has no image, and the ", capabilities_.engine, " engine runs nothing else"),
             "write image: with what was built of it, such as image: shop/${self.host}:1");
  }

  void CheckCapabilities(const ServiceSpec& service) {
    for (const std::string& key : service.unsupported) {
      const bool can = (key == "image" && capabilities_.images) || (key == "volumes" && capabilities_.volumes) ||
                       (key == "sidecars" && capabilities_.sidecars) || (key == "replicas" && capabilities_.replicas) ||
                       (key == "user" && capabilities_.users);
      if (can) continue;
      const std::string engine = capabilities_.engine.empty() ? "this" : absl::StrCat("the ", capabilities_.engine);
      const std::string what = key == "image" ? "runs no container images" : absl::StrCat("has no '", key, "'");
      Complain(PlaceOf(service, key), absl::StrCat(engine, " engine ", what, ", and '", service.name, "' asks for it"),
               key == "image" ? "write run: with the command to start on this machine"
                              : absl::StrCat("remove ", key, ": or choose another engine"));
    }
  }

  void AddEdges() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (const Dependency& need : NeedsOfNode(declared_[i])) {
        const auto found = index_.find(need.node);
        // A node that needs itself, or a job its own service, has been refused by the loader.
        const bool own = need.node == nodes_[i].name || absl::StartsWith(nodes_[i].name, absl::StrCat(need.node, "."));
        if (found != index_.end() && !own) nodes_[i].needs.push_back({found->second, need.condition, need.pos});
      }
    }
  }

  std::vector<int> Roots(const Selection& selection) const {
    std::vector<int> roots;
    for (const std::string& name : selection.asked) roots.push_back(index_.at(name));
    // A circle beyond a reference is not below what was asked for.
    for (size_t i = 0; i < nodes_.size(); ++i) roots.push_back(static_cast<int>(i));
    return roots;
  }

  void Finish() {
    Plan& plan = result_.plan;
    plan.catalogue = catalogue_.name;
    plan.root = catalogue_.root;
    plan.nodes = Arrange(std::move(nodes_));
    plan.critical_path = CriticalPath(plan.nodes);
    // By name: what was measured changes the order of the nodes, but not what the plan is.
    std::map<absl::string_view, std::string> parts;
    for (const PlanNode& node : plan.nodes) {
      std::string& part = parts[node.name];
      absl::StrAppend(&part, node.name, " ", static_cast<int>(node.kind), " ", node.digest);
      for (const PlanEdge& edge : node.needs)
        absl::StrAppend(&part, " ", plan.nodes[edge.node].name, "=", static_cast<int>(edge.condition));
    }
    std::string all = absl::StrCat(plan.catalogue, "\n", plan.root, "\n");
    for (const auto& [name, part] : parts) absl::StrAppend(&all, part, "\n");
    plan.digest = Sha256Hex(all);
  }

  const Catalogue& catalogue_;
  const EnvironmentRequest& request_;
  const Capabilities& capabilities_;
  const std::map<std::string, absl::Duration>& start_times_;
  const Fingerprint fingerprint_;
  Resolver resolver_;
  std::vector<PlanNode> nodes_;
  std::vector<Declared> declared_;  // Beside nodes_.
  std::map<std::string, int> index_;
  PlanResult result_;
};

}  // namespace

PlanResult MakePlan(const Catalogue& catalogue, const EnvironmentRequest& request, const Capabilities& capabilities,
                    const std::map<std::string, absl::Duration>& start_times, const Fingerprint& fingerprint) {
  return Planner(catalogue, request, capabilities, start_times, fingerprint).Run();
}

}  // namespace mayfly
