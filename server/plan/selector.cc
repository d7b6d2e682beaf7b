#include "server/plan/selector.h"

#include <deque>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"
#include "mayfly/spec/reference.h"
#include "server/plan/declared.h"

namespace mayfly {
namespace {

class Selector {
 public:
  Selector(const Catalogue& catalogue, const EnvironmentRequest& request) : catalogue_(catalogue), request_(request) {}

  Selection Run() {
    Choose();
    while (!queue_.empty()) {
      const std::string node = queue_.front();
      queue_.pop_front();
      Follow(node);
    }
    for (auto& [node, why] : out_.nodes) why = Sorted(node);
    return std::move(out_);
  }

 private:
  void Choose() {
    const bool nothing_named = request_.services.empty() && request_.tests.empty();
    for (const std::string& service : request_.services) {
      if (catalogue_.FindService(service) != nullptr) {
        Ask(service, "asked for");
      } else {
        Unknown(service, "service", catalogue_.services, catalogue_.FindTest(service) != nullptr,
                "a test: name it with `mayfly test`");
      }
    }
    for (const std::string& test : request_.tests) {
      if (catalogue_.FindTest(test) != nullptr) {
        Ask(test, "asked for");
      } else {
        Unknown(test, "test", catalogue_.tests, catalogue_.FindService(test) != nullptr, "a service, not a test");
      }
    }
    if (nothing_named) {
      for (const auto& [name, service] : catalogue_.services) Ask(name, "all services were asked for");
    }
    if (request_.all_tests) AllTests();
  }

  void AllTests() {
    for (const auto& [name, test] : catalogue_.tests) {
      if (request_.services.empty()) {
        Ask(name, "all tests were asked for");
        continue;
      }
      for (const std::string& service : request_.services) {
        const ServiceSpec* spec = catalogue_.FindService(service);
        const bool covers = absl::c_linear_search(test.covers, service) ||
                            (spec != nullptr && absl::c_linear_search(spec->tests, name));
        if (covers) Ask(name, absl::StrCat("covers ", service));
      }
    }
  }

  template <class Map>
  void Unknown(const std::string& name, absl::string_view noun, const Map& known, bool other_kind,
               absl::string_view what) {
    std::vector<std::string> names;
    for (const auto& entry : known) names.push_back(entry.first);
    const std::string shown = EscapeLine(absl::string_view(name).substr(0, 80));
    Diagnostic problem;
    problem.message = absl::StrCat("there is no ", noun, " '", shown, "' in '", catalogue_.name, "'");
    const std::string near = Nearest(name, names);
    if (other_kind) {
      problem.hint = absl::StrCat("'", shown, "' is ", what);
    } else if (!near.empty()) {
      problem.hint = absl::StrCat("did you mean '", near, "'?");
    } else if (names.size() <= 30) {
      problem.hint = names.empty() ? absl::StrCat("it has no ", noun, "s")
                                   : absl::StrCat("there are ", absl::StrJoin(names, ", "));
    }
    out_.diagnostics.push_back(std::move(problem));
  }

  void Ask(const std::string& node, std::string why) {
    std::vector<std::string>& reasons = asked_why_[node];
    if (reasons.empty()) out_.asked.push_back(node);
    reasons.push_back(std::move(why));
    Enqueue(node);
  }

  void Enqueue(const std::string& node) {
    if (out_.nodes.try_emplace(node).second) queue_.push_back(node);
  }

  void Follow(const std::string& node) {
    const Declared declared = FindDeclared(catalogue_, node);
    if (!declared.found()) return;  // The loader has complained.
    std::set<std::string> needed;
    for (const Dependency& need : NeedsOfNode(declared)) {
      if (!FindDeclared(catalogue_, need.node).found()) continue;
      needed.insert(need.node);
      const bool own_job =
          declared.service != nullptr && declared.job == nullptr && absl::StartsWith(need.node, node + ".");
      needed_by_[need.node].insert(absl::StrCat(own_job ? "before " : "needed by ", node));
      Enqueue(need.node);
    }
    for (const PlacedTemplate& placed : TemplatesOfNode(declared)) {
      for (const Reference& reference : ReferencesOf(placed.text->text)) {
        if (reference.target == "self" || reference.target == "env") continue;
        if (declared.service != nullptr && reference.target == declared.service->name) continue;
        // Who needs it says enough.
        if (needed.count(reference.target) > 0 || catalogue_.FindService(reference.target) == nullptr) continue;
        referenced_by_[reference.target].insert(absl::StrCat("referenced by ", node, " (", placed.place, ")"));
        Enqueue(reference.target);
      }
    }
  }

  std::vector<std::string> Sorted(const std::string& node) {
    std::vector<std::string> why = asked_why_[node];
    why.insert(why.end(), needed_by_[node].begin(), needed_by_[node].end());
    why.insert(why.end(), referenced_by_[node].begin(), referenced_by_[node].end());
    return why;
  }

  const Catalogue& catalogue_;
  const EnvironmentRequest& request_;
  Selection out_;
  std::deque<std::string> queue_;
  std::map<std::string, std::vector<std::string>> asked_why_;
  std::map<std::string, std::set<std::string>> needed_by_;
  std::map<std::string, std::set<std::string>> referenced_by_;
};

}  // namespace

Selection Select(const Catalogue& catalogue, const EnvironmentRequest& request) {
  return Selector(catalogue, request).Run();
}

}  // namespace mayfly
