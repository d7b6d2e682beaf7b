// Loading and planning a catalogue of 1,000 services that need and refer to each other.
#include <chrono>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/plan/file_fingerprint.h"
#include "server/plan/planner.h"
#include "server/spec/catalogue_loader.h"
#include "tests/bench/figures.h"
#include "tests/support/spec_case.h"

namespace mayfly::bench {
namespace {

constexpr int kServices = 1000;

// Each needs up to three of those before it and refers to two others.
std::string Spec() {
  std::string out = "name: thousand\nservices:\n";
  for (int i = 0; i < kServices; ++i) {
    std::string needs;
    for (const int back : {1, 7, 31}) {
      if (i >= back) absl::StrAppend(&needs, needs.empty() ? "" : ", ", "s", i - back);
    }
    absl::StrAppend(&out, "  s", i, ": {type: http, run: ./service, needs: [", needs, "], env: {A: \"${s",
                    i * 7 % kServices, ".url}\", B: \"${s", i * 3 % kServices, ".address}\"}}\n");
  }
  return out;
}

template <class Function>
double Milliseconds(Function function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

int Main(int argc, char** argv) {
  const SpecFolder folder(Spec());
  std::vector<double> load;
  std::vector<double> plan;
  const Folder top = Folder::Open("/");
  FileFingerprints fingerprints;  // As in the server, which keeps them.
  for (int i = 0; i < 30; ++i) {
    LoadedCatalogue loaded;
    load.push_back(Milliseconds([&] { loaded = LoadCatalogue(folder.path()); }));
    PlanResult result;
    plan.push_back(Milliseconds([&] {
      result = MakePlan(loaded.catalogue, {}, {"local", true}, {},
                        [&](const std::string& path) { return fingerprints.Of(top, path.substr(1)); });
    }));
    if (!loaded.ok() || result.plan.nodes.size() != kServices) return 1;
  }
  Figures figures("plan");
  figures.Add("plan of 1,000 services", "ms", plan, Goal{"p95", 50});
  figures.Add("reading 1,000 services from one file", "ms", load);
  return figures.Finish(argc, argv);
}

}  // namespace
}  // namespace mayfly::bench

int main(int argc, char** argv) {
  return mayfly::bench::Main(argc, argv);
}
