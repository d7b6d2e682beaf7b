#include "server/plan/declared.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

int Strength(Condition condition) {
  switch (condition) {
    case Condition::kStarted:
      return 0;
    case Condition::kReady:
      return 1;
    case Condition::kCompleted:
      return 2;
  }
  return 0;
}

void AddVariables(const std::map<std::string, Template>& variables, std::vector<PlacedTemplate>& out) {
  for (const auto& [name, text] : variables) out.push_back({absl::StrCat("env.", name), &text});
}

void AddCommand(const std::vector<Template>& run, std::vector<PlacedTemplate>& out) {
  for (const Template& word : run) out.push_back({"run", &word});
}

}  // namespace

NodeKind Declared::kind() const {
  if (test != nullptr) return NodeKind::kTestJob;
  return job != nullptr || service->one_shot ? NodeKind::kJob : NodeKind::kService;
}

Declared FindDeclared(const Catalogue& catalogue, absl::string_view node) {
  Declared declared;
  const size_t dot = node.find('.');
  declared.service = catalogue.FindService(node.substr(0, dot));
  if (declared.service == nullptr) {
    declared.test = catalogue.FindTest(node);
    return declared;
  }
  if (dot == absl::string_view::npos) return declared;
  for (const JobSpec& job : declared.service->before) {
    if (job.name == node.substr(dot + 1)) declared.job = &job;
  }
  if (declared.job == nullptr) declared.service = nullptr;
  return declared;
}

std::vector<Dependency> NeedsOfNode(const Declared& declared) {
  std::map<std::string, Dependency> needs;
  const auto add = [&](const Dependency& need) {
    const auto [known, fresh] = needs.try_emplace(need.node, need);
    if (!fresh && Strength(need.condition) > Strength(known->second.condition)) known->second = need;
  };
  if (declared.test != nullptr) {
    for (const Dependency& need : declared.test->needs) add(need);
  } else {
    for (const Dependency& need : declared.service->needs) add(need);
  }
  if (declared.job != nullptr) {
    for (const Dependency& need : declared.job->needs) add(need);
  } else if (declared.service != nullptr) {
    for (const JobSpec& job : declared.service->before) {
      add({absl::StrCat(declared.service->name, ".", job.name), Condition::kCompleted, job.pos});
    }
  }
  std::vector<Dependency> out;
  for (auto& [node, need] : needs) out.push_back(std::move(need));
  return out;
}

std::vector<PlacedTemplate> TemplatesOfNode(const Declared& declared) {
  std::vector<PlacedTemplate> out;
  if (declared.test != nullptr) {
    AddVariables(declared.test->variables, out);
    AddCommand(declared.test->run, out);
    return out;
  }
  AddVariables(declared.service->variables, out);
  for (const FileSpec& file : declared.service->files)
    out.push_back({absl::StrCat("files.", file.path), &file.content});
  if (declared.job != nullptr) {
    AddVariables(declared.job->variables, out);
    AddCommand(declared.job->run, out);
    return out;
  }
  AddCommand(declared.service->run, out);
  for (const SidecarSpec& sidecar : declared.service->sidecars) {
    out.push_back({absl::StrCat("sidecars.", sidecar.name, ".image"), &sidecar.image});
    for (const auto& [name, text] : sidecar.variables)
      out.push_back({absl::StrCat("sidecars.", sidecar.name, ".env.", name), &text});
    for (const Template& word : sidecar.run) out.push_back({absl::StrCat("sidecars.", sidecar.name, ".run"), &word});
  }
  // Whoever uses an output needs what it is made of.
  for (const auto& [name, text] : declared.service->outputs) out.push_back({absl::StrCat("outputs.", name), &text});
  return out;
}

}  // namespace mayfly
