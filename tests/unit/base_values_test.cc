// Diagnostics, causes, ids and status helpers.
#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mayfly/base/cause.h"
#include "mayfly/base/diagnostic.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"
#include "tests/support/golden.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::StartsWith;

TEST(FormatPosTest, LeavesOutWhatIsUnknown) {
  EXPECT_EQ(FormatPos({"a.yml", 3, 7}), "a.yml:3:7");
  EXPECT_EQ(FormatPos({"a.yml", 3, 0}), "a.yml:3");
  EXPECT_EQ(FormatPos({"a.yml", 0, 7}), "a.yml");
  EXPECT_EQ(FormatPos({"a\n.yml", 0, 0}), "a\\n.yml");
}

TEST(FormatDiagnosticTest, PointsAtTheColumn) {
  const Diagnostic diagnostic = {
      Severity::kError, {"s.yml", 3, 3}, "unknown key 'prot'", "did you mean 'port'?", "  prot: 1"};
  EXPECT_EQ(FormatDiagnostic(diagnostic),
            "s.yml:3:3: error: unknown key 'prot'\n    prot: 1\n    ^\n  did you mean 'port'?\n");
}

TEST(FormatDiagnosticTest, TheCaretStandsUnderTheEscapedText) {
  const Diagnostic diagnostic = {Severity::kWarning,
                                 {"s.yml", 1, 6},
                                 "odd",
                                 "",
                                 "\xc3\xbc\x1b"
                                 "a:b"};
  EXPECT_EQ(FormatDiagnostic(diagnostic), "s.yml:1:6: warning: odd\n  ü\\x1ba:b\n         ^\n");
}

TEST(FormatDiagnosticTest, AColumnBehindTheLineIsItsEnd) {
  const Diagnostic diagnostic = {Severity::kError, {"s.yml", 1, 99}, "m", "", "ab"};
  EXPECT_EQ(FormatDiagnostic(diagnostic), "s.yml:1:99: error: m\n  ab\n    ^\n");
}

TEST(FormatDiagnosticsTest, InOrderOfPlaceWithACount) {
  const Diagnostics diagnostics = {{Severity::kError, {"b.yml", 1, 1}, "third"},
                                   {Severity::kWarning, {"a.yml", 9, 1}, "second"},
                                   {Severity::kError, {"a.yml", 2, 1}, "first"}};
  EXPECT_EQ(FormatDiagnostics(diagnostics),
            "a.yml:2:1: error: first\na.yml:9:1: warning: second\nb.yml:1:1: error: third\n"
            "2 errors, 1 warning in 2 files\n");
  EXPECT_TRUE(HasErrors(diagnostics));
  EXPECT_FALSE(HasErrors({{Severity::kWarning, {}, "w"}}));
  EXPECT_EQ(FormatDiagnostics({}), "");
}

TEST(CauseTest, EveryCodeHasOneNameOneMeaningAndKeepsItsPlace) {
  std::set<std::string> names;
  int last = -1;
  for (const CauseInfo& info : CauseTable()) {
    EXPECT_THAT(std::string(info.name), MatchesRegex("[A-Z][A-Z_]+"));
    EXPECT_TRUE(names.insert(std::string(info.name)).second) << info.name << " is there twice";
    EXPECT_TRUE(absl::EndsWith(info.meaning, ".")) << info.name;
    EXPECT_GT(static_cast<int>(info.code), last) << info.name << " is out of order";
    last = static_cast<int>(info.code);
    EXPECT_EQ(CauseCodeFromName(info.name), info.code);
    EXPECT_EQ(InfoFor(info.code).name, info.name);
  }
  EXPECT_EQ(CauseCodeFromName("NO_SUCH"), CauseCode::kNone);
  EXPECT_EQ(InfoFor(static_cast<CauseCode>(4711)).code, CauseCode::kInternal);
}

TEST(CauseTest, FormatIsOneEscapedLine) {
  EXPECT_EQ(FormatCause({CauseCode::kOutOfMemory, "checkout", "used 128 MiB of 128 MiB", "", {}, true}),
            "checkout: OUT_OF_MEMORY (inferred): used 128 MiB of 128 MiB");
  EXPECT_EQ(FormatCause({CauseCode::kCancelled}), "CANCELLED");
  EXPECT_EQ(FormatCause({CauseCode::kExited, "a\x1b", "b\nc"}), "a\\x1b: EXITED: b\\nc");
  EXPECT_EQ(FormatCause({}), "");
}

// The reference page for users is the table, printed.
TEST(CauseTest, TheReferencePageIsUpToDate) {
  std::string page =
      "# Causes\n\n"
      "The first line of every failure names a cause. Scripts read the code from `cause.code` of the JSON report; "
      "names and\n"
      "numbers never change their meaning. This page is made from the table in `server/base/cause.cc`:\n"
      "`MAYFLY_UPDATE_GOLDENS=1 build/dev/tests/base_values_test`.\n";
  const std::pair<int, const char*> kGroups[] = {
      {1, "The process"}, {2, "Readiness"}, {3, "Resources"}, {4, "Tests"}, {5, "The environment and the engine"},
      {6, "The request"}};
  for (const auto& [group, title] : kGroups) {
    absl::StrAppend(&page, "\n## ", title,
                    "\n\n| Code | Number | Meaning | What to do |\n| --- | ---: | --- | --- |\n");
    for (const CauseInfo& info : CauseTable()) {
      if (static_cast<int>(info.code) / 100 != group) continue;
      absl::StrAppend(&page, "| `", info.name, "` | ", static_cast<int>(info.code), " | ", info.meaning, " | ",
                      info.advice, " |\n");
    }
  }
  ExpectGolden("docs/causes.md", page);
}

TEST(ScopeIdTest, IsANameThatIsNeverTheSameForTwoGenerations) {
  std::set<std::string> ids;
  for (const char* installation : {"i1", "i2"}) {
    for (const char* name : {"shop", "shop-2", "s"}) {
      for (int generation = 1; generation < 200; ++generation) {
        const std::string id = ScopeId(installation, name, generation);
        EXPECT_OK(CheckName(id, 41));
        EXPECT_THAT(id, StartsWith(std::string(name) + "-"));
        EXPECT_TRUE(ids.insert(id).second) << id;
      }
    }
  }
  EXPECT_NE(ScopeId("ab", "c", 1), ScopeId("a", "bc", 1));
  EXPECT_EQ(ScopeId("i", "shop", 1), ScopeId("i", "shop", 1));
}

TEST(ScopeIdTest, ALongNameIsCutToALabel) {
  const std::string id = ScopeId("i", std::string(29, 'a') + "--" + std::string(50, 'b'), 1);
  EXPECT_OK(CheckName(id, 41));
  EXPECT_THAT(id, StartsWith(std::string(29, 'a') + "-"));
  EXPECT_EQ(id.size(), 29u + 1 + 10);
}

TEST(Sha256HexTest, KnownAnswers) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_THAT(Sha256Hex(""), StartsWith("e3b0c44298fc1c14"));
}

TEST(NewUuidTest, IsAVersion4UuidAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string uuid = NewUuid();
    EXPECT_EQ(uuid.size(), 36u);
    EXPECT_EQ(uuid[14], '4');
    EXPECT_TRUE(absl::StrContains("89ab", std::string(1, uuid[19]))) << uuid;
    EXPECT_TRUE(seen.insert(uuid).second);
  }
}

TEST(StatusTest, AnnotateKeepsCodeAndPayload) {
  absl::Status status = absl::NotFoundError("x");
  status.SetPayload("url", absl::Cord("data"));
  const absl::Status annotated = Annotate(status, "reading y");
  EXPECT_THAT(annotated, StatusIs(absl::StatusCode::kNotFound, "reading y: x"));
  EXPECT_TRUE(annotated.GetPayload("url").has_value());
  EXPECT_OK(Annotate(absl::OkStatus(), "z"));
}

absl::Status Fails(bool fail) {
  MAYFLY_RETURN_IF_ERROR(fail ? absl::InternalError("no") : absl::OkStatus());
  MAYFLY_ASSIGN_OR_RETURN(const int value, fail ? absl::StatusOr<int>(absl::InternalError("no")) : 7);
  return value == 7 ? absl::OkStatus() : absl::UnknownError("");
}

TEST(StatusTest, MacrosReturnTheFirstError) {
  EXPECT_OK(Fails(false));
  EXPECT_THAT(Fails(true), StatusIs(absl::StatusCode::kInternal, "no"));
  EXPECT_THAT(ErrnoStatus(ENOENT, "open /x"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("open /x")));
}

}  // namespace
}  // namespace mayfly
