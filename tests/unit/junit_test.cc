// JUnit files as tools write them, as hostile jobs write them, and merged.
#include "server/report/junit.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/report/junit_writer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Outcome = JunitCase::Outcome;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;

JunitFile Parse(const std::string& xml) {
  auto file = ParseJunit(xml, "r.xml");
  EXPECT_OK(file);
  return file.ok() ? *std::move(file) : JunitFile();
}

TEST(JunitReaderTest, PytestFile) {
  const JunitFile file = Parse(R"(<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="3" time="0.042">
<testcase classname="test_order" name="test_total" time="0.002"><failure message="assert 41 == 42">def test():
&gt; assert 41 == 42</failure></testcase>
<testcase classname="test_order" name="test_ok" time="0.001" />
<testcase classname="test_order" name="test_later" time="0"><skipped type="pytest.skip" message="later" /></testcase>
</testsuite></testsuites>)");
  ASSERT_THAT(file.suites, SizeIs(1));
  ASSERT_THAT(file.suites[0].cases, SizeIs(3));
  const JunitCase& failed = file.suites[0].cases[0];
  EXPECT_EQ(failed.outcome, Outcome::kFailed);
  EXPECT_EQ(failed.message, "assert 41 == 42");
  EXPECT_EQ(failed.text, "def test():\n> assert 41 == 42");
  EXPECT_EQ(failed.seconds, 0.002);
  EXPECT_EQ(file.suites[0].cases[2].type, "pytest.skip");
  EXPECT_EQ(file.Totals().skipped, 1);
}

TEST(JunitReaderTest, ASuiteAsRootWithoutCountsAndNames) {
  const JunitFile file = Parse("<testsuite><testcase name='a'/><testcase><error/></testcase></testsuite>");
  EXPECT_EQ(file.Totals().tests, 2);
  EXPECT_EQ(file.Totals().errors, 1);
}

TEST(JunitReaderTest, StatedCountsAreNotBelieved) {
  EXPECT_EQ(Parse("<testsuite tests='99' failures='-5'><testcase name='a'/></testsuite>").Totals().tests, 1);
}

TEST(JunitReaderTest, NestedSuitesKeepTheirPath) {
  const JunitFile file = Parse(
      "<testsuites name='all'><testsuite name='outer'><testcase name='x'/><testsuite name='inner'>"
      "<testcase name='y'/></testsuite></testsuite></testsuites>");
  ASSERT_THAT(file.suites, SizeIs(2));
  EXPECT_EQ(file.suites[0].name, "outer");
  EXPECT_EQ(file.suites[1].name, "outer / inner");
}

TEST(JunitReaderTest, FlakyAndRerunFailuresOfSurefireAndNextest) {
  const JunitFile file = Parse(
      "<testsuite><testcase name='passed later'><flakyFailure message='first'><stackTrace>at "
      "A</stackTrace></flakyFailure>"
      "</testcase><testcase name='never'><failure message='f'/><rerunFailure message='again'/></testcase></testsuite>");
  const auto& cases = file.suites[0].cases;
  EXPECT_EQ(cases[0].outcome, Outcome::kPassed);
  EXPECT_TRUE(cases[0].flaky);
  EXPECT_EQ(cases[0].text, "at A");
  EXPECT_EQ(cases[1].outcome, Outcome::kFailed);
  EXPECT_EQ(cases[1].message, "f");
}

TEST(JunitReaderTest, CdataInPiecesOutputsAndNamespaces) {
  const JunitFile file = Parse(
      "<j:testsuite xmlns:j='urn:x'><j:testcase name='a'><failure><![CDATA[a]]]]><![CDATA[>b]]></failure>"
      "<system-out><![CDATA[<out>]]></system-out><system-err>err</system-err></j:testcase></j:testsuite>");
  const JunitCase& test = file.suites[0].cases[0];
  EXPECT_EQ(test.text, "a]]>b");
  EXPECT_EQ(test.system_out, "<out>");
  EXPECT_EQ(test.system_err, "err");
}

TEST(JunitReaderTest, OtherEncodingsAreRead) {
  EXPECT_EQ(Parse("<?xml version='1.0' encoding='ISO-8859-1'?><testsuite><testcase name='\xe9'/></testsuite>")
                .suites[0]
                .cases[0]
                .name,
            "\u00e9");
  std::string utf16 = "\xff\xfe";
  for (const char c : absl::string_view("<testsuite><testcase name='a'/></testsuite>")) utf16 += {c, '\0'};
  EXPECT_EQ(Parse(utf16).suites[0].cases[0].name, "a");
}

TEST(JunitReaderTest, OddTimesCountAsZero) {
  const JunitFile file = Parse(
      "<testsuite><testcase time='1,234.5'/><testcase time='NaN'/><testcase time='-1'/><testcase "
      "time='x'/></testsuite>");
  EXPECT_EQ(file.Totals().seconds, 1234.5);
}

TEST(JunitReaderTest, AnErrorNamesItsPlace) {
  EXPECT_THAT(ParseJunit("<testsuite>\n  <testcase name=>\n</testsuite>", "a/r.xml"),
              StatusIs(kInvalid, HasSubstr("a/r.xml:2:")));
  EXPECT_THAT(ParseJunit("\n\n<html><body/></html>", "r.xml"),
              StatusIs(kInvalid, AllOf(HasSubstr("r.xml:3:2"), HasSubstr("<html>, not <testsuites> or <testsuite>"))));
  EXPECT_THAT(ParseJunit("", "r.xml"), StatusIs(kInvalid, HasSubstr("the file is empty")));
  EXPECT_THAT(ParseJunit("plain text", "r\x1b.xml"), StatusIs(kInvalid, HasSubstr("r\\x1b.xml:1:")));
}

TEST(JunitReaderTest, EveryTruncationIsAnErrorOrAFileAndNeverACrash) {
  const std::string whole =
      "<?xml version='1.0'?><!-- c --><testsuites><testsuite name='s'><testcase name='a'><failure message='m'>"
      "<![CDATA[text]]></failure></testcase></testsuite></testsuites>";
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(ParseJunit(whole.substr(0, size), "r.xml").ok()) << whole.substr(0, size);
  }
}

TEST(JunitReaderTest, DamagedFilesAreReadOrRefusedAndNeverACrash) {
  const std::string whole =
      "<?xml version='1.0' encoding='UTF-8'?><testsuites><testsuite name='s' time='1'><testcase name='a' time='0.1'>"
      "<failure message='m' type='t'><![CDATA[text]]></failure><system-out>&lt;&#65;</system-out></testcase>"
      "<testcase><flakyError><stackTrace/></flakyError><skipped/></testcase></testsuite></testsuites>";
  std::mt19937 random(20261121);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    for (int change = random() % 4; change >= 0; --change) {
      const size_t at = random() % damaged.size();
      switch (random() % 4) {
        case 0:
          damaged[at] = static_cast<char>(random());
          break;
        case 1:
          damaged.erase(at, random() % 20);
          break;
        case 2:
          damaged.insert(at, damaged.substr(random() % damaged.size(), random() % 60));
          break;
        default:
          damaged[at] = "<>&;'\"/![]-?"[random() % 12];
      }
      if (damaged.empty()) damaged = "<";
    }
    const auto file = ParseJunit(damaged, "r.xml");
    if (file.ok()) {
      Report report;
      report.tests.emplace_back().job = "job";
      EXPECT_OK(ParseJunit(WriteJunit(report, {{"job", *file}}), "w.xml")) << damaged;
    } else {
      EXPECT_THAT(file, StatusIs(kInvalid, HasSubstr("r.xml:"))) << damaged;
    }
  }
}

TEST(JunitReaderTest, EntitiesOfADocumentTypeAreNotExpanded) {
  std::string bomb = "<!DOCTYPE t [<!ENTITY a 'aaaaaaaaaa'>";
  for (char c = 'b'; c <= 'z'; ++c) {
    absl::StrAppend(&bomb, "<!ENTITY ", std::string(1, c), " '");
    for (int i = 0; i < 10; ++i) absl::StrAppend(&bomb, "&", std::string(1, c - 1), ";");
    bomb += "'>";
  }
  bomb += "<!ENTITY x SYSTEM 'file:///etc/passwd'>]><testsuite><testcase name='&z;&x;'/></testsuite>";
  EXPECT_EQ(Parse(bomb).suites[0].cases[0].name, "&z;&x;");
}

TEST(JunitReaderTest, DeepAndManyElementsAreRefused) {
  std::string deep;
  for (int i = 0; i < 1'000'000; ++i) deep += "<testsuite>";
  EXPECT_THAT(ParseJunit(deep, "r.xml").status().code(), testing::AnyOf(kInvalid, kExhausted));
  std::string closed = "<testsuite>";
  for (int i = 0; i < 100; ++i) closed = absl::StrCat("<testsuite>", closed, "</testsuite>");
  EXPECT_THAT(ParseJunit(closed + "</testsuite>", "r.xml"), StatusIs(kExhausted, HasSubstr("more than 64 deep")));
  EXPECT_THAT(ParseJunit(std::string(3'000'000, '<'), "r.xml"), StatusIs(kExhausted, HasSubstr("too many")));
  EXPECT_THAT(ParseJunit("<testsuite><testcase a='1' b='2'/></testsuite>", "r.xml", {.elements = 4}),
              StatusIs(kExhausted, HasSubstr("5 tags and attributes")));
}

TEST(JunitReaderTest, AMillionNestedUnknownElementsDoNotOverflowTheStack) {
  std::string xml = "<testsuite>";
  for (int i = 0; i < 900'000; ++i) xml += "<a>";
  for (int i = 0; i < 900'000; ++i) xml += "</a>";
  EXPECT_THAT(Parse(xml + "<testcase name='a'/></testsuite>").suites, SizeIs(1));
}

TEST(JunitReaderTest, TooManyBytesAreRefused) {
  EXPECT_THAT(ParseJunit(std::string(33 << 20, ' '), "r.xml"), StatusIs(kExhausted, HasSubstr("at most 32.0 MiB")));
}

TEST(JunitReaderTest, BinaryIsRefused) {
  std::string junk =
      "\x7f"
      "ELF";
  for (int i = 0; i < 4096; ++i) junk.push_back(static_cast<char>(i * 37));
  EXPECT_THAT(ParseJunit(junk, "r.xml"), StatusIs(kInvalid, HasSubstr("r.xml:")));
}

TEST(JunitReaderTest, LongTextsAreShortenedInTheMiddle) {
  const std::string xml = absl::StrCat("<testsuite><testcase><system-out>begin", std::string(1000, 'x'),
                                       "end</system-out></testcase></testsuite>");
  const auto file = ParseJunit(xml, "r.xml", {.text = 100});
  ASSERT_OK(file);
  EXPECT_THAT(file->suites[0].cases[0].system_out,
              AllOf(testing::StartsWith("begin"), testing::EndsWith("end"), HasSubstr("[908 bytes left out]")));
}

TEST(JunitReaderTest, OnlyRegularFilesAreRead) {
  TempDir dir;
  std::ofstream(dir / "r.xml") << "<testsuite><testcase name='a'/></testsuite>";
  EXPECT_OK(ReadJunitFile(dir / "r.xml"));
  ASSERT_EQ(symlink("r.xml", (dir / "link.xml").c_str()), 0);
  EXPECT_FALSE(ReadJunitFile(dir / "link.xml").ok());
  ASSERT_EQ(mkfifo((dir / "pipe.xml").c_str(), 0600), 0);
  EXPECT_THAT(ReadJunitFile(dir / "pipe.xml"), StatusIs(kInvalid, HasSubstr("not a regular file")));
  EXPECT_THAT(ReadJunitFile(dir / "none.xml"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("none.xml")));
}

TEST(JunitReaderTest, AFolderIsAllItsXmlFilesTogether) {
  TempDir dir;
  EXPECT_THAT(ReadJunitFile(dir.path()), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no JUnit file *.xml")));
  std::ofstream(dir / "TEST-b.xml") << "<testsuite name='b'><testcase name='2'/></testsuite>";
  std::ofstream(dir / "TEST-a.xml") << "<testsuite name='a'><testcase name='1'/></testsuite>";
  std::ofstream(dir / "notes.txt") << "not XML";
  ASSERT_EQ(symlink("/etc/passwd", (dir / "link.xml").c_str()), 0);
  const auto file = ReadJunitFile(dir.path());
  ASSERT_OK(file);
  ASSERT_THAT(file->suites, SizeIs(2));
  EXPECT_EQ(file->suites[0].name, "a");
  EXPECT_THAT(ReadJunitFile(dir.path(), {.bytes = 80}), StatusIs(kExhausted, HasSubstr("TEST-b.xml")));
}

TEST(JunitMergeTest, SuitesOfOneNameBecomeOne) {
  const JunitFile a = Parse("<testsuite name='s' time='1'><testcase name='a'/></testsuite>");
  const JunitFile b = Parse(
      "<testsuites><testsuite name='t'><testcase name='b'/></testsuite>"
      "<testsuite name='s' time='2'><testcase name='c'/></testsuite></testsuites>");
  const JunitFile merged = MergeJunit({a, b});
  ASSERT_THAT(merged.suites, SizeIs(2));
  EXPECT_EQ(merged.suites[0].seconds, 3);
  EXPECT_EQ(merged.suites[0].cases[1].name, "c");
  EXPECT_EQ(merged.Totals().tests, 3);
  EXPECT_THAT(MergeJunit({}).suites, IsEmpty());
}

Report ReportOfOneJob(NodeState state, Cause cause = {}) {
  Report report;
  report.verdict = state == NodeState::kSucceeded ? Verdict::kPassed : Verdict::kFailed;
  ReportTest test;
  test.job = "e2e";
  test.state = state;
  test.tries = 1;
  test.cause = std::move(cause);
  test.junit = "e2e/r.xml";
  report.tests = {test};
  return report;
}

TEST(JunitWriterTest, AJobThatFailedWithGreenCasesStillFails) {
  const Report report = ReportOfOneJob(NodeState::kFailed, {CauseCode::kTestDeadline, "e2e", "not done after 2 m"});
  const std::string xml = WriteJunit(report, {{"e2e", Parse("<testsuite><testcase name='a'/></testsuite>")}});
  const JunitFile read = Parse(xml);
  EXPECT_EQ(read.Totals().failures, 1);
  EXPECT_THAT(xml, HasSubstr("TEST_DEADLINE: not done after 2 m"));
}

TEST(JunitWriterTest, AMissingOrBrokenFileIsSaidAndChangesNoVerdict) {
  TempDir dir;
  const Report passed = ReportOfOneJob(NodeState::kSucceeded);
  EXPECT_THAT(WriteJunitWithFiles(passed, dir.path()), HasSubstr("e2e/r.xml"));
  EXPECT_EQ(Parse(WriteJunitWithFiles(passed, dir.path())).Totals().errors, 0);
  ASSERT_EQ(mkdir((dir / "e2e").c_str(), 0700), 0);
  std::ofstream(dir / "e2e/r.xml") << "<testsuite name='s'><testcase name='real case'/></testsuite>";
  EXPECT_THAT(WriteJunitWithFiles(passed, dir.path()), HasSubstr("real case"));
}

TEST(JunitWriterTest, WhatIsWrittenIsReadBackTheSame) {
  JunitCase test{.classname = "c<&\">", .name = "n'\t", .seconds = 1.5, .outcome = Outcome::kError};
  test.message = "line 1\nline 2 ]]> <!--";
  test.text = "  body\n\twith tabs & <tags>";
  const std::string xml = WriteJunit(ReportOfOneJob(NodeState::kFailed), {{"e2e", JunitFile{{{"s", 0, {test}}}}}});
  const JunitFile read = Parse(xml);
  const JunitCase& back = read.suites.back().cases[0];
  EXPECT_EQ(back.classname, test.classname);
  EXPECT_EQ(back.message, test.message);
  EXPECT_EQ(back.text, "body\n\twith tabs & <tags>");
  EXPECT_EQ(back.outcome, Outcome::kError);
}

}  // namespace
}  // namespace mayfly
