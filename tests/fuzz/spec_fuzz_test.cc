// Specs broken at random, from good and from already broken ones: whatever comes, there is a catalogue or there are
// diagnostics with a place inside their file, and never a crash. Seeded: MAYFLY_FUZZ_SEED and MAYFLY_FUZZ_CASES say
// which and how many; a failure names its seed.
#include <cstdlib>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/plan/lint.h"
#include "server/plan/plan_printer.h"
#include "server/plan/planner.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/explain.h"
#include "tests/golden/golden_cases.h"
#include "tests/support/spec_case.h"

namespace mayfly {
namespace {

int FromEnvironment(const char* name, int fallback) {
  const char* text = std::getenv(name);
  int value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : fallback;
}

// What YAML and this format give a meaning to.
constexpr const char* kWords[] = {
    "{",         "}",         "[",         "]",          ": ",       "- ",       "\n",     "\n  ",   "|",
    ">",         "&a ",       "*a",        "<<: ",       "!!x ",     "---\n",    "# ",     "\"",     "'",
    "${",        "}",         "${self.x}", "${web.url}", "$${",      "~",        "null",   "yes",    "0777",
    "-1",        "1e9",       "\t",        "\x01",       "\xff",     "needs: [", "type: ", "port: ", "health:",
    "? ",        "%",         "@",         "name",       "env",      "types:",   "tests",  "before", "ports",
    "services:", "outputs: ", "../",       "/",          "9999999d", "99Ti",     ".."};

class Mutator {
 public:
  Mutator(unsigned seed, const std::vector<GoldenCase>& cases) : random_(seed), cases_(cases) {}

  std::string Next() {
    std::string text = cases_[Below(cases_.size())].Input();
    const size_t times = 1 + Below(3);
    for (size_t i = 0; i < times; ++i) Mutate(text);
    return text;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : std::uniform_int_distribution<size_t>(0, limit - 1)(random_); }

  void Mutate(std::string& text) {
    const size_t at = Below(text.size() + 1);
    switch (Below(6)) {
      case 0:
        text.insert(at, kWords[Below(std::size(kWords))]);
        return;
      case 1:
        text.erase(at, 1 + Below(12));
        return;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(Below(256));
        return;
      case 3: {  // A piece of another spec.
        const std::string other = cases_[Below(cases_.size())].Input();
        text.insert(at, other.substr(Below(other.size()), Below(120)));
        return;
      }
      case 4:  // A piece of itself again.
        text.insert(at, text.substr(Below(text.size()), Below(80)));
        return;
      default:
        text.insert(at, std::string(1 + Below(200), "[{- \n"[Below(5)]));
    }
  }

  std::mt19937 random_;
  const std::vector<GoldenCase>& cases_;
};

void ExpectSane(const LoadedCatalogue& loaded) {
  for (const Diagnostic& d : loaded.diagnostics) {
    EXPECT_FALSE(d.message.empty());
    EXPECT_FALSE(d.pos.file.empty()) << d.message;
    EXPECT_GE(d.pos.line, 0);
    EXPECT_LE(d.pos.column, static_cast<int>(d.source_line.size()) + 1) << d.message;
  }
  for (const auto& [name, service] : loaded.catalogue.services) RenderExplain(service);
}

void ExpectPlannable(const LoadedCatalogue& loaded) {
  EnvironmentRequest request;
  request.all_tests = true;
  const PlanResult result = MakePlan(loaded.catalogue, request, {"local", true}, {});
  EXPECT_EQ(result.ok(), !result.plan.nodes.empty());
  for (size_t i = 0; i < result.plan.nodes.size(); ++i) {
    EXPECT_FALSE(result.plan.nodes[i].process.argv.empty());
    for (const PlanEdge& edge : result.plan.nodes[i].needs) EXPECT_LT(edge.node, static_cast<int>(i));
  }
  PlanTable(result.plan);
}

TEST(SpecFuzzTest, NeverCrashesAndNeverStaysSilent) {
  std::vector<GoldenCase> cases = ReadGoldenCases("tests/golden/spec/broken");
  for (int i = 0; i < 140; ++i) {  // Good ones as often as all broken ones together.
    for (GoldenCase& one : ReadGoldenCases("tests/golden/spec/good")) cases.push_back(std::move(one));
  }
  const int first = FromEnvironment("MAYFLY_FUZZ_SEED", 1);
  const int count = FromEnvironment("MAYFLY_FUZZ_CASES", 1000);
  int good = 0;
  for (int seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("MAYFLY_FUZZ_SEED=", seed, " MAYFLY_FUZZ_CASES=1"));
    const std::string text = Mutator(static_cast<unsigned>(seed), cases).Next();
    // A mutated path is nothing to write files to.
    if (absl::StrContains(text, "--- /") || absl::StrContains(text, "..")) continue;
    const SpecFolder folder(text);
    LoadedCatalogue loaded = LoadCatalogue(folder.path());
    for (Diagnostic& d : WithSourceLines(LintPlan(loaded), loaded.catalogue))
      loaded.diagnostics.push_back(std::move(d));
    FormatDiagnostics(loaded.diagnostics);
    ExpectSane(loaded);
    if (loaded.ok()) ExpectPlannable(loaded);
    good += loaded.ok();
  }
  // Both sides are reached: mutations neither always break a spec nor never do.
  if (count >= 1000) {
    EXPECT_GT(good, count / 50);
    EXPECT_LT(good, count / 2);
  }
}

}  // namespace
}  // namespace mayfly
