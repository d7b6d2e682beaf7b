#include "server/spec/catalogue_checks.h"

#include <functional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/text.h"
#include "mayfly/spec/reference.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/scalars.h"
#include "server/spec/shape_check.h"

namespace mayfly {
namespace {

template <class Map>
std::vector<std::string> Keys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& entry : map) keys.push_back(entry.first);
  return keys;
}

const JobSpec* FindJob(const ServiceSpec& service, absl::string_view name) {
  for (const JobSpec& job : service.before) {
    if (job.name == name) return &job;
  }
  return nullptr;
}

class Checks {
 public:
  Checks(const Catalogue& catalogue, const CheckContext& context, Sink& sink)
      : catalogue_(catalogue), context_(context), sink_(sink), names_(Keys(catalogue.services)) {}

  void Run() {
    for (const auto& [name, service] : catalogue_.services) Service(service);
    for (const auto& [name, test] : catalogue_.tests) Test(test);
    HostPorts();
    for (const auto& [name, service] : catalogue_.services) {
      for (const auto& [output, value] : service.outputs) Outputs(service, output);
    }
    if (edges_ > kMaxEdges) {
      sink_.Error({catalogue_.root}, absl::StrCat("more than ", kMaxEdges, " needs and references (", edges_,
                                                  "), the limit of one catalogue"));
    }
  }

 private:
  void Service(const ServiceSpec& service) {
    Needs(service.needs, service.name, "");
    Text(service.image, &service);
    for (const auto& [variable, value] : service.variables) Text(value, &service);
    for (const auto& [output, value] : service.outputs) Text(value, &service);
    for (const Template& word : service.run) Text(word, &service);
    for (const FileSpec& file : service.files) Text(file.content, &service);
    for (const SidecarSpec& sidecar : service.sidecars) {
      Text(sidecar.image, &service);
      for (const auto& [variable, value] : sidecar.variables) Text(value, &service);
      for (const Template& word : sidecar.run) Text(word, &service);
    }
    for (const JobSpec& job : service.before) {
      Needs(job.needs, service.name, job.name);
      for (const auto& [variable, value] : job.variables) Text(value, &service);
      for (const Template& word : job.run) Text(word, &service);
    }
    for (const auto& [variable, secret] : service.secrets) {
      if (service.variables.count(variable) == 0) continue;
      sink_.Error(service.variables.at(variable).pos,
                  absl::StrCat("'", variable, "' is both under env and under secrets"), "keep one of them");
    }
    const auto merged = context_.merged.find(service.name);
    if (merged != context_.merged.end()) Names(merged->second->Find("tests"), catalogue_.tests, "test", "tests");
  }

  void Test(const TestJobSpec& test) {
    if (catalogue_.services.count(test.name) > 0) {
      sink_.Error(test.pos, absl::StrCat("'", test.name, "' is both a service and a test"),
                  "give the test another name");
    }
    Needs(test.needs, "", "");
    Text(test.image, nullptr);
    for (const auto& [variable, value] : test.variables) Text(value, nullptr);
    for (const Template& word : test.run) Text(word, nullptr);
    const auto tree = context_.tests.find(test.name);
    if (tree != context_.tests.end()) Names(tree->second->Find("covers"), catalogue_.services, "service", "services");
  }

  template <class Map>
  void Names(const YamlValue* list, const Map& known, absl::string_view noun, absl::string_view plural) {
    if (list == nullptr || context_.incomplete) return;
    for (const YamlRef& item : list->items) {
      if (!item->IsScalar() || known.count(item->text) > 0) continue;
      sink_.Error(item->Pos(), absl::StrCat("unknown ", noun, " '", EscapeLine(item->text), "'"),
                  DidYouMean(item->text, Keys(known), plural));
    }
  }

  // `owner` is the service that needs, or empty for a test; `job` its before job, or empty.
  void Needs(const std::vector<Dependency>& needs, const std::string& owner, const std::string& job) {
    std::set<std::string> seen;
    for (const Dependency& need : needs) {
      ++edges_;
      if (!seen.insert(need.node).second) {
        sink_.Error(need.pos, absl::StrCat("'", need.node, "' is needed twice"), "keep one of them");
        continue;
      }
      const std::string self = job.empty() ? owner : absl::StrCat(owner, ".", job);
      if (need.node == self) {
        sink_.Error(need.pos, absl::StrCat("'", self, "' needs itself"), "remove it");
        continue;
      }
      if (!job.empty() && need.node == owner) {
        sink_.Error(need.pos, absl::StrCat("'", job, "' runs before '", owner, "' and cannot need it"), "remove it");
        continue;
      }
      Need(need);
    }
  }

  void Need(const Dependency& need) {
    const std::vector<std::string> parts = absl::StrSplit(need.node, '.');
    if (parts.size() > 2) return;  // Has been told by its shape.
    const ServiceSpec* service = catalogue_.FindService(parts[0]);
    if (service == nullptr) {
      if (context_.incomplete) return;
      const bool test = catalogue_.FindTest(parts[0]) != nullptr;
      sink_.Error(need.pos,
                  absl::StrCat(test ? "a test cannot be needed: '" : "unknown service '", EscapeLine(parts[0]), "'"),
                  test ? "need the services that it covers" : Suggest(parts[0]));
      return;
    }
    if (context_.broken.count(service->name) > 0) return;
    if (parts.size() == 2 && FindJob(*service, parts[1]) == nullptr) {
      std::vector<std::string> jobs;
      for (const JobSpec& job : service->before) jobs.push_back(job.name);
      sink_.Error(need.pos, absl::StrCat("'", service->name, "' has no job '", EscapeLine(parts[1]), "' under before"),
                  DidYouMean(parts[1], jobs, "jobs there"));
      return;
    }
    const bool job = parts.size() == 2 || service->one_shot;
    if (!job && need.condition == Condition::kCompleted) {
      sink_.Error(need.pos, absl::StrCat("'", need.node, "' is a service that runs on and never completes"),
                  absl::StrCat("write ", need.node, " to wait until it is ready"));
    }
  }

  // A job's name without its service is a likely slip.
  std::string Suggest(const std::string& name) {
    for (const auto& [owner, service] : catalogue_.services) {
      if (FindJob(service, name) != nullptr) return absl::StrCat("did you mean '", owner, ".", name, "'?");
    }
    if (context_.alone) {
      return "this service.yml was read by itself: with the envspec.yml that lists it (-f) the others are known";
    }
    return DidYouMean(name, names_, "services");
  }

  // `owner` is nullptr for a test job.
  void Text(const Template& text, const ServiceSpec* owner) {
    if (text.text.find("${") == std::string::npos) return;
    const ParsedTemplate parsed = ParseTemplate(text.text);
    const SourcePos pos = text.pos.file.empty() && owner != nullptr ? owner->pos : text.pos;
    for (const ParsedTemplate::Problem& problem : parsed.problems) {
      sink_.Error(sink_.Locate(pos, problem.at), problem.message, problem.hint);
    }
    for (const TemplatePiece& piece : parsed.pieces) {
      if (!piece.has_reference) continue;
      ++edges_;
      Refer(piece.reference, pos, owner);
    }
  }

  void Refer(const Reference& reference, const SourcePos& from, const ServiceSpec* owner) {
    if (reference.target == "env") {
      if (reference.property != "name" && !CheckVariable(reference.property).ok()) {
        Wrong(reference, from, absl::StrCat("'", reference.text, "' names no variable"),
              "write ${env.NAME} with letters, digits and '_'");
      }
      return;
    }
    if (reference.target == "self" && owner == nullptr) {
      Wrong(reference, from, "a test job has no ${self...}", "name the service that is meant");
      return;
    }
    const ServiceSpec* target = reference.target == "self" ? owner : catalogue_.FindService(reference.target);
    if (target == nullptr) {
      if (context_.incomplete) return;
      Wrong(reference, from, absl::StrCat("unknown service '", reference.target, "' in '", reference.text, "'"),
            Suggest(reference.target));
      return;
    }
    if (context_.broken.count(target->name) == 0) Property(reference, from, *target);
  }

  void Property(const Reference& reference, const SourcePos& from, const ServiceSpec& target) {
    if (reference.property == "host" || target.outputs.count(reference.property) > 0) return;
    if (reference.property == "port" || reference.property == "address") {
      if (target.ports.empty()) {
        Wrong(reference, from, absl::StrCat("'", target.name, "' has no port, so there is no '", reference.text, "'"),
              absl::StrCat("write port: in '", target.name, "', or use ${", reference.target, ".host}"));
        return;
      }
      std::vector<std::string> ports;
      for (const Port& port : target.ports) ports.push_back(port.name);
      if (reference.port.empty() || absl::c_linear_search(ports, reference.port)) return;
      Wrong(reference, from, absl::StrCat("'", target.name, "' has no port '", reference.port, "'"),
            DidYouMean(reference.port, ports, "ports"));
      return;
    }
    std::vector<std::string> known = {"host"};
    if (!target.ports.empty()) known.insert(known.end(), {"port", "address"});
    for (const auto& [output, value] : target.outputs) known.push_back(output);
    const std::string near = Nearest(reference.property, known);
    Wrong(reference, from, absl::StrCat("'", target.name, "' has no '", reference.property, "'"),
          near.empty() ? absl::StrCat("it has ", absl::StrJoin(known, ", "), "; outputs: {", reference.property,
                                      ": ...} in '", target.name, "' would add it")
                       : absl::StrCat("did you mean '${", reference.target, ".", near, "}'?"));
  }

  // Looked for only when something is wrong: it takes a walk through the file.
  void Wrong(const Reference& reference, const SourcePos& from, std::string message, std::string hint) {
    sink_.Error(sink_.Locate(from, reference.text, reference.occurrence), std::move(message), std::move(hint));
  }

  void HostPorts() {
    std::map<int, std::string> taken;
    for (const auto& [name, service] : catalogue_.services) {
      for (const Port& port : service.ports) {
        if (port.host_port == 0) continue;
        const auto [first, fresh] = taken.try_emplace(port.host_port, name);
        if (!fresh) {
          sink_.Error(service.pos,
                      absl::StrCat("'", name, "' and '", first->second, "' both ask for host_port ", port.host_port),
                      "give one of them another");
        }
      }
    }
  }

  // Follows outputs that are made of outputs.
  void Outputs(const ServiceSpec& service, const std::string& output) {
    const std::string here = absl::StrCat(service.name, ".", output);
    const auto value = service.outputs.find(output);
    if (value == service.outputs.end() || done_.count(here) > 0) return;
    const auto before = absl::c_find(path_, here);
    if (before != path_.end()) {
      sink_.Error(value->second.pos,
                  absl::StrCat("outputs refer to each other in a circle: ", absl::StrJoin(before, path_.end(), " -> "),
                               " -> ", here),
                  "write one of them without the other");
      done_.insert(before, path_.end());
      return;
    }
    path_.push_back(here);
    for (const Reference& reference : ReferencesOf(value->second.text)) {
      const ServiceSpec* target = reference.target == "self" ? &service : catalogue_.FindService(reference.target);
      if (target != nullptr) Outputs(*target, reference.property);
    }
    path_.pop_back();
    done_.insert(here);
  }

  const Catalogue& catalogue_;
  const CheckContext& context_;
  Sink& sink_;
  const std::vector<std::string> names_;
  std::set<std::string> done_;     // Outputs that have been followed.
  std::vector<std::string> path_;  // Outputs on the way: "service.output".
  size_t edges_ = 0;
};

}  // namespace

void CheckCatalogue(const Catalogue& catalogue, const CheckContext& context, Sink& sink) {
  Checks(catalogue, context, sink).Run();
}

}  // namespace mayfly
