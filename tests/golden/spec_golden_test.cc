// Every broken spec of tests/golden/spec/broken with what is said about it, and what good ones come to.
// MAYFLY_UPDATE_GOLDENS=1 rewrites what is expected; read the diff.
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/plan/lint.h"
#include "server/plan/plan_printer.h"
#include "server/plan/planner.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/explain.h"
#include "server/spec/reference_page.h"
#include "server/spec/schema.h"
#include "tests/golden/golden_cases.h"
#include "tests/support/spec_case.h"

namespace mayfly {
namespace {

class SpecGoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  // Compares, or writes what came out.
  static void Check(const GoldenCase& golden, const std::string& title, const std::string& actual) {
    if (UpdatingGoldens()) {
      WriteGoldenPart(golden, title, actual);
      return;
    }
    for (const GoldenPart& part : golden.parts) {
      if (part.title != title) continue;
      EXPECT_EQ(part.text, actual) << golden.file << ": " << golden.name;
      return;
    }
    FAIL() << golden.name << " says nothing about what is expected";
  }
};

class BrokenSpecTest : public SpecGoldenTest {};

TEST_P(BrokenSpecTest, IsToldWithPlaceAndRemedy) {
  const SpecFolder folder(GetParam().Input());
  LoadedCatalogue loaded = LoadCatalogue(folder.path());
  for (Diagnostic& d : WithSourceLines(LintPlan(loaded), loaded.catalogue)) loaded.diagnostics.push_back(std::move(d));
  EXPECT_TRUE(HasErrors(loaded.diagnostics));
  for (const Diagnostic& d : loaded.diagnostics) {
    // A caret stands under something, never beside the line.
    EXPECT_LE(d.pos.column, static_cast<int>(d.source_line.size()) + 1) << d.message;
    EXPECT_FALSE(d.pos.file.empty()) << d.message;
  }
  Check(GetParam(), "expected", folder.Relative(FormatDiagnostics(loaded.diagnostics)));
}

class GoodSpecTest : public SpecGoldenTest {};

TEST_P(GoodSpecTest, ComesToWhatIsExpected) {
  const SpecFolder folder(GetParam().Input());
  const LoadedCatalogue loaded = LoadCatalogue(folder.path());
  EXPECT_EQ(folder.Relative(FormatDiagnostics(loaded.diagnostics)), "");
  std::string explained;
  for (const auto& [name, service] : loaded.catalogue.services) {
    absl::StrAppend(&explained, explained.empty() ? "" : "\n", RenderExplain(service));
  }
  Check(GetParam(), "expected explain", folder.Relative(explained));
  EnvironmentRequest request;
  request.all_tests = true;
  const PlanResult result = MakePlan(loaded.catalogue, request, {"local", true}, {});
  EXPECT_EQ(folder.Relative(FormatDiagnostics(result.diagnostics)), "");
  Check(GetParam(), "expected plan", PlanTable(result.plan));
  Check(GetParam(), "expected dot", PlanDot(result.plan));
}

std::string CaseName(const testing::TestParamInfo<GoldenCase>& info) {
  return absl::StrReplaceAll(info.param.name, {{"-", "_"}});
}

INSTANTIATE_TEST_SUITE_P(Spec, BrokenSpecTest, testing::ValuesIn(ReadGoldenCases("tests/golden/spec/broken")),
                         CaseName);
INSTANTIATE_TEST_SUITE_P(Spec, GoodSpecTest, testing::ValuesIn(ReadGoldenCases("tests/golden/spec/good")), CaseName);

TEST(BrokenSpecsTest, AreTwoHundredAndNoNameTwice) {
  std::set<std::string> names;
  for (const GoldenCase& one : ReadGoldenCases("tests/golden/spec/broken")) {
    EXPECT_TRUE(names.insert(one.name).second) << one.name;
  }
  EXPECT_GE(names.size(), 200u);
}

// What is made from the decoding tables and kept in the tree.
void CheckGenerated(const std::string& path, const std::string& actual) {
  if (UpdatingGoldens()) std::ofstream(path, std::ios::binary) << actual;
  EXPECT_EQ(ReadWhole(path), actual) << path << " is stale: run spec_golden_test with MAYFLY_UPDATE_GOLDENS=1";
}

TEST(GeneratedTest, ReferencePageIsUpToDate) {
  CheckGenerated("docs/envspec.md", ReferencePage());
}
TEST(GeneratedTest, ServiceSchemaIsUpToDate) {
  CheckGenerated("docs/schema/service.schema.json", JsonSchema(SpecKind::kService));
}
TEST(GeneratedTest, EnvspecSchemaIsUpToDate) {
  CheckGenerated("docs/schema/envspec.schema.json", JsonSchema(SpecKind::kEnvspec));
}

}  // namespace
}  // namespace mayfly
