#include <csignal>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mayfly/spec/reference.h"
#include "server/spec/scalars.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> Words(absl::string_view text) {
  const CommandWords split = SplitCommand(text);
  EXPECT_EQ(split.error, "") << text;
  return split.words;
}

TEST(SplitCommandTest, WordsAreSplitAtSpacesAndQuotesKeepThemTogether) {
  EXPECT_THAT(Words("./web  --name  'a  b' \"c d\"e"), ElementsAre("./web", "--name", "a  b", "c de"));
  EXPECT_THAT(Words("./web '' \"\""), ElementsAre("./web", "", ""));
  EXPECT_THAT(Words(R"(./web "say \"hi\"" 'it''s' a\ b)"), ElementsAre("./web", "say \"hi\"", "its", "a b"));
  EXPECT_THAT(Words("./web \\\n  --fast\n"), ElementsAre("./web", "--fast"));
}

TEST(SplitCommandTest, ReferencesAreOnePieceAndAreNotSplitLater) {
  EXPECT_THAT(Words("./web --to ${cart.address}/x $${HOME}"),
              ElementsAre("./web", "--to", "${cart.address}/x", "$${HOME}"));
}

TEST(SplitCommandTest, WhatAShellWouldReadIsFineInQuotes) {
  EXPECT_THAT(Words("grep 'a|b' \"x > y\" '$HOME'"), ElementsAre("grep", "a|b", "x > y", "$HOME"));
  EXPECT_THAT(Words("./web --filter=a=b cost=5$"), ElementsAre("./web", "--filter=a=b", "cost=5$"));
}

TEST(SplitCommandTest, WhatOnlyAShellReadsIsRefusedWithItsPlace) {
  for (const char* part : {"&&", "||", "|", ">", "<", ";", "&", "`", "$HOME", "$(", "$1"}) {
    EXPECT_EQ(SplitCommand(absl::StrCat("./web ", part, " x")).at, part);
  }
}

TEST(ParseScalarTest, IntegersAreDecimalWithoutLeadingZeros) {
  EXPECT_EQ(*ParseInt("0"), 0);
  EXPECT_EQ(*ParseInt("-12"), -12);
  for (const char* bad : {"", "-", "+1", "1.0", "1e3", "017", "08", "0x10", "0o17", "1_000", " 1"}) {
    EXPECT_THAT(ParseInt(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'"))) << bad;
  }
}

TEST(ParseScalarTest, SignalsHaveTheirNameWithOrWithoutSig) {
  EXPECT_EQ(*ParseSignal("TERM"), SIGTERM);
  EXPECT_EQ(*ParseSignal("SIGQUIT"), SIGQUIT);
  EXPECT_FALSE(ParseSignal("STOP").ok());
}

TEST(ParseScalarTest, HostAndPort) {
  EXPECT_OK(CheckHostPort("api.stripe.com:443"));
  EXPECT_OK(CheckHostPort("10.0.0.1:80"));
  for (const char* bad : {"", "a", ":80", "a:", "a:0", "a:70000", "a b:80", "http://a:80"})
    EXPECT_FALSE(CheckHostPort(bad).ok()) << bad;
}

TEST(ParseTemplateTest, PiecesAndEscapes) {
  const ParsedTemplate parsed = ParseTemplate("a${x.url}b$${y}c$d${x.port.metrics}");
  EXPECT_THAT(parsed.problems, IsEmpty());
  ASSERT_THAT(parsed.pieces, SizeIs(2));
  EXPECT_EQ(parsed.pieces[0].literal, "a");
  EXPECT_EQ(parsed.pieces[0].reference.property, "url");
  EXPECT_EQ(parsed.pieces[1].literal, "b${y}c$d");
  EXPECT_EQ(parsed.pieces[1].reference.port, "metrics");
}

TEST(ParseTemplateTest, TextAroundReferencesIsKept) {
  const ParsedTemplate parsed = ParseTemplate("no references, $5 and $$");
  ASSERT_THAT(parsed.pieces, SizeIs(1));
  EXPECT_EQ(parsed.pieces[0].literal, "no references, $5 and $$");
}

TEST(ParseTemplateTest, WhatIsNoReferenceIsAProblemAndNotText) {
  for (const char* bad : {"${", "${}", "${a}", "${a.}", "${.b}", "${a.b.c}", "${a b.c}", "${a.b.c.d}"}) {
    EXPECT_THAT(ParseTemplate(bad).problems, SizeIs(1)) << bad;
    EXPECT_THAT(ReferencesOf(bad), IsEmpty()) << bad;
  }
}

}  // namespace
}  // namespace mayfly
