// The limits of one file and of one catalogue, and what they protect against.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/plan/planner.h"
#include "server/spec/catalogue_loader.h"
#include "server/spec/sink.h"
#include "server/spec/yaml_reader.h"
#include "tests/support/spec_case.h"

namespace mayfly {
namespace {

using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::SizeIs;

std::string Told(const SpecFolder& folder) {
  return folder.Relative(FormatDiagnostics(LoadCatalogue(folder.path()).diagnostics));
}

// A service for each number, with `needs` of those before it.
std::string Services(int count, int needs) {
  std::string out = "services:\n";
  for (int i = 0; i < count; ++i) {
    std::vector<std::string> names;
    for (int k = 1; k <= needs && i - k >= 0; ++k) names.push_back(absl::StrCat("s", i - k));
    absl::StrAppend(&out, "  s", i, ": {type: worker, run: ./s, needs: [", absl::StrJoin(names, ", "), "]}\n");
  }
  return out;
}

TEST(SpecLimitsTest, FileOverOneMebibyteIsNotRead) {
  const SpecFolder folder(absl::StrCat("services: {}\n# ", std::string(kMaxSpecBytes, 'x')));
  EXPECT_EQ(Told(folder), "envspec.yml: error: larger than 1.0 MiB, the limit for a spec file\n1 error in 1 file\n");
}

TEST(SpecLimitsTest, ThousandServicesAndNoMore) {
  EXPECT_EQ(Told(SpecFolder(Services(1000, 1))), "");
  EXPECT_THAT(Told(SpecFolder(Services(1001, 1))),
              HasSubstr("error: more than 1000 services, the limit of one catalogue"));
}

TEST(SpecLimitsTest, TenThousandNeedsAndNoMore) {
  EXPECT_EQ(Told(SpecFolder(Services(900, 11))), "");
  EXPECT_THAT(Told(SpecFolder(Services(900, 12))), HasSubstr("error: more than 10000 needs and references (10722)"));
}

TEST(SpecLimitsTest, ManyProblemsAreCutWithANote) {
  std::string text = "services:\n  web: {type: http, run: ./web}\n";
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&text, "x", i, ": 1\n");
  const Diagnostics diagnostics = LoadCatalogue(SpecFolder(text).path()).diagnostics;
  EXPECT_THAT(diagnostics, SizeIs(Sink::kMost + 1));
  EXPECT_THAT(diagnostics.back().message, HasSubstr("too many problems"));
}

// Each of these takes quadratic or exponential time in a careless reader; the test's own limit of time is the check.
TEST(SpecLimitsTest, HostileFilesTakeNoTime) {
  std::string many_keys;
  for (int i = 0; i < 90000; ++i) absl::StrAppend(&many_keys, "k", i, ": 1\n");
  std::string tabs;
  for (int i = 0; i < 200000; ++i) absl::StrAppend(&tabs, "\t#\n");
  const std::string deep(500000, '[');
  const std::string quotes = absl::StrCat("a: ", std::string(500000, '\''));
  const std::string flows = absl::StrCat("a: {", std::string(500000, '{'));
  for (const std::string& text : {many_keys, tabs, deep, quotes, flows}) {
    Sink sink;
    ReadYaml(std::make_shared<SourceFile>(SourceFile{"x.yml", text}), sink);
    EXPECT_THAT(sink.size(), Lt(5u));
  }
}

TEST(SpecLimitsTest, PlanOfThousandServicesIsCompleteAndTheSameEachTime) {
  const SpecFolder folder(Services(1000, 3));
  const Catalogue catalogue = LoadCatalogue(folder.path()).catalogue;
  const auto plan = [&](const std::map<std::string, absl::Duration>& times) {
    return MakePlan(catalogue, {}, {"local", true}, times).plan;
  };
  const Plan first = plan({});
  ASSERT_THAT(first.nodes, SizeIs(1000));
  EXPECT_EQ(first.nodes.front().name, "s0");
  EXPECT_EQ(first.nodes.back().name, "s999");
  EXPECT_EQ(first.digest, plan({}).digest);
  // What was measured may change the order, and not what the plan is.
  EXPECT_EQ(first.digest, plan({{"s5", absl::Seconds(30)}}).digest);
}

}  // namespace
}  // namespace mayfly
