// Escaping, units and did-you-mean.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mayfly/base/text.h"
#include "tests/support/status_matchers.h"

namespace mayfly {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(EscapeLineTest, PrintableTextOfAnyLanguageStaysAsItIs) {
  for (const char* text : {"", "plain text", "Grüße, 世界, مرحبا, 🚀", "a\\b \"quoted\" 'single'"}) {
    EXPECT_EQ(EscapeLine(text), text);
  }
}

TEST(EscapeLineTest, ControlCharactersAreShown) {
  EXPECT_EQ(EscapeLine("a\nb\tc\rd"), "a\\nb\\tc\\x0dd");
  EXPECT_EQ(EscapeLine(absl::string_view("\0\x1b[31m\x7f", 7)), "\\x00\\x1b[31m\\x7f");
  EXPECT_EQ(EscapeLine("\u0085\u009b"), "\\u{0085}\\u{009b}") << "C1: a terminal may take them for escapes";
}

TEST(EscapeLineTest, TextThatTurnsOrHidesTextIsShown) {
  EXPECT_EQ(EscapeLine("\u202Eexe.txt"), "\\u{202e}exe.txt");
  EXPECT_EQ(EscapeLine("a\u2066b\u200Bc\uFEFF"), "a\\u{2066}b\\u{200b}c\\u{feff}");
}

TEST(EscapeLineTest, BytesThatAreNotUtf8AreShownEachByItself) {
  EXPECT_EQ(EscapeLine("a\xff"
                       "b\xc3"),
            "a\\xffb\\xc3");
  EXPECT_EQ(EscapeLine("\xc0\xaf"), "\\xc0\\xaf") << "overlong";
  EXPECT_EQ(EscapeLine("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(EscapeLine("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond Unicode";
}

TEST(EscapeLineTest, NoByteStringGivesAControlCharacter) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string escaped = EscapeLine(std::string{static_cast<char>(a), static_cast<char>(b)});
      for (const char c : escaped) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << a << " " << b;
      ASSERT_EQ(EscapeLine(escaped), escaped);
    }
  }
}

TEST(ParseDurationTest, EachUnitAndSumsOfThem) {
  const std::vector<std::pair<const char*, absl::Duration>> cases = {
      {"250ms", absl::Milliseconds(250)}, {"90s", absl::Seconds(90)},
      {"5m", absl::Minutes(5)},           {"2h", absl::Hours(2)},
      {"14d", absl::Hours(336)},          {"1w", absl::Hours(168)},
      {"1h30m", absl::Minutes(90)},       {"1.5s", absl::Milliseconds(1500)},
      {"0s", absl::ZeroDuration()}};
  for (const auto& [text, duration] : cases) {
    const auto parsed = ParseDuration(text);
    ASSERT_OK(parsed) << text;
    EXPECT_EQ(*parsed, duration) << text;
  }
}

TEST(ParseDurationTest, EverythingElseIsRefusedWithWhatToWrite) {
  for (const char* text : {"", "5", "s", "-5s", "inf", "1y", "5 m", "5s ", "1h30", "1..5s", ".5s", "0x5s", "1e3s"}) {
    EXPECT_THAT(ParseDuration(text), StatusIs(kInvalid, HasSubstr("write 90s, 5m, 2h or 14d"))) << text;
  }
  EXPECT_THAT(ParseDuration("5"), StatusIs(kInvalid, HasSubstr("it has no unit")));
  EXPECT_THAT(ParseDuration("5q"), StatusIs(kInvalid, HasSubstr("unknown unit 'q'")));
  EXPECT_THAT(ParseDuration("99999d"), StatusIs(kInvalid, HasSubstr("over ten years")));
  EXPECT_THAT(ParseDuration("9999999999999999999999999999999h"), StatusIs(kInvalid, HasSubstr("over ten years")));
  EXPECT_THAT(ParseDuration("\x1b[2Js"), StatusIs(kInvalid, HasSubstr("'\\x1b[2Js'")));
}

TEST(FormatDurationTest, IsReadBackTheSame) {
  for (const char* text : {"0s", "1ms", "1s500ms", "1m30s", "2h", "1d1h1m1s1ms"}) {
    EXPECT_EQ(mayfly::FormatDuration(*ParseDuration(text)), text);
  }
  EXPECT_EQ(mayfly::FormatDuration(absl::Seconds(90)), "1m30s");
}

TEST(HumanDurationTest, ThreeFiguresWhateverTheSize) {
  EXPECT_EQ(HumanDuration(absl::Microseconds(1234)), "1.2 ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(840)), "840 ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(1130)), "1.13 s");
  EXPECT_EQ(HumanDuration(absl::Seconds(125)), "2 m 05 s");
  EXPECT_EQ(HumanDuration(absl::Minutes(125)), "2 h 05 m");
  EXPECT_EQ(HumanDuration(absl::Hours(50)), "2 d 02 h");
}

TEST(HumanDurationTest, RoundingNeverShowsAFullNextUnit) {
  EXPECT_EQ(HumanDuration(absl::Microseconds(999600)), "1.00 s");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(59960)), "1 m 00 s");
  EXPECT_EQ(HumanDuration(absl::Microseconds(9960)), "10 ms");
}

TEST(ParseSizeTest, EachUnit) {
  EXPECT_EQ(*ParseSize("64Ki"), 65536);
  EXPECT_EQ(*ParseSize("128Mi"), 128 << 20);
  EXPECT_EQ(*ParseSize("2Gi"), int64_t{2} << 30);
  EXPECT_EQ(*ParseSize("1Ti"), int64_t{1} << 40);
  EXPECT_EQ(*ParseSize("500k"), 500000);
  EXPECT_EQ(*ParseSize("1.5Mi"), 3 << 19);
  EXPECT_EQ(*ParseSize("7B"), 7);
}

TEST(ParseSizeTest, EverythingElseIsRefusedWithWhatToWrite) {
  for (const char* text : {"", "128", "Mi", "-1Mi", "128MiB", "128 Mi", "1e3k", "128mi"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(kInvalid, HasSubstr("write 64Ki, 128Mi or 2Gi"))) << text;
  }
  EXPECT_THAT(ParseSize("99999999Ti"), StatusIs(kInvalid, HasSubstr("over 1 EiB")));
}

TEST(FormatSizeTest, TheLargestUnitThatDivides) {
  EXPECT_EQ(FormatSize(128 << 20), "128Mi");
  EXPECT_EQ(FormatSize(1536 << 20), "1536Mi");
  EXPECT_EQ(FormatSize(1000), "1000B");
  EXPECT_EQ(FormatSize(0), "0B");
  EXPECT_EQ(*ParseSize(FormatSize(int64_t{3} << 40)), int64_t{3} << 40);
}

TEST(HumanSizeTest, OneDecimal) {
  EXPECT_EQ(HumanSize(0), "0 B");
  EXPECT_EQ(HumanSize(1023), "1023 B");
  EXPECT_EQ(HumanSize(13002342), "12.4 MiB");
  EXPECT_EQ(HumanSize(int64_t{5} << 50), "5120.0 TiB");
}

TEST(NearestTest, FindsWhatWasMeantAndNothingElse) {
  const std::vector<std::string> keys = {"port", "image", "needs", "env", "resources"};
  EXPECT_EQ(Nearest("prot", keys), "port") << "two letters swapped are one mistake";
  EXPECT_EQ(Nearest("resorces", keys), "resources");
  EXPECT_EQ(Nearest("need", keys), "needs");
  EXPECT_EQ(Nearest("colour", keys), "");
  EXPECT_EQ(Nearest("x", {}), "");
  EXPECT_EQ(Nearest("ab", {"aa", "bb"}), "aa") << "ties go to the first";
}

TEST(CheckNameTest, SaysWhichRuleBroke) {
  EXPECT_OK(CheckName("a"));
  EXPECT_OK(CheckName("shop-pr-12"));
  EXPECT_OK(CheckName(std::string(40, 'a')));
  EXPECT_THAT(CheckName(""), StatusIs(kInvalid, HasSubstr("must not be empty")));
  EXPECT_THAT(CheckName("Shop"), StatusIs(kInvalid, HasSubstr("only a-z, 0-9 and '-'")));
  EXPECT_THAT(CheckName("a_b"), StatusIs(kInvalid, HasSubstr("only a-z, 0-9 and '-'")));
  EXPECT_THAT(CheckName("-a"), StatusIs(kInvalid, HasSubstr("must not begin or end")));
  EXPECT_THAT(CheckName("a-"), StatusIs(kInvalid, HasSubstr("must not begin or end")));
  EXPECT_THAT(CheckName(std::string(41, 'a')),
              StatusIs(kInvalid, AllOf(HasSubstr("at most 40"), HasSubstr("it has 41"))));
  EXPECT_THAT(CheckName("a/../b\x1b"), StatusIs(kInvalid, HasSubstr("'a/../b\\x1b'")));
}

}  // namespace
}  // namespace mayfly
