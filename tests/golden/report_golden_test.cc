// Every format of a report, from logs written by hand: one file each under tests/golden/report.
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/report/json_writer.h"
#include "server/report/junit_writer.h"
#include "server/report/markdown_writer.h"
#include "server/report/report_builder.h"
#include "server/report/summary.h"
#include "server/report/text_writer.h"
#include "tests/support/golden.h"
#include "tests/support/log_builder.h"

namespace mayfly {
namespace {

const std::vector<PlannedNode>& ShopPlan() {
  static const auto& plan = *new std::vector<PlannedNode>{
      PlannedService("postgres", {}, {"needed by checkout.migrate"}),
      PlannedService("redis", {}, {"needed by cart"}),
      PlannedJob("checkout.migrate", {"postgres"}),
      PlannedService("cart", {"redis"}, {"referenced by checkout (env.CART)"}),
      PlannedService("checkout", {"cart", "checkout.migrate:completed"}, {"needed by frontend"}),
      PlannedService("frontend", {"checkout"}, {"asked for"}),
      PlannedTest("checkout-e2e", {"checkout"}),
      PlannedTest("frontend-smoke", {"frontend"}, /*flaky=*/true)};
  return plan;
}

LogBuilder StartOfShop() {
  LogBuilder log;
  log.Accepted().Planned(4.5, ShopPlan()).State(4.5, EnvironmentState::kCreating);
  log.Launch(11, "postgres").Launch(11, "redis").Running(11.4, "postgres").Running(11.5, "redis");
  log.Ready(52, "redis").Launch(52.2, "cart").Ready(130, "cart").Ready(312, "postgres");
  log.Launch(312.3, "checkout.migrate").Succeeded(402, "checkout.migrate", Used(35, 12)).Launch(402.2, "checkout");
  return log;
}

LogBuilder ReadyShop() {
  LogBuilder log = StartOfShop();
  log.Ready(540, "checkout").Launch(540.3, "frontend").Launch(540.4, "checkout-e2e").Ready(660, "frontend");
  log.State(660, EnvironmentState::kActive).Exposed(661, "frontend", "http://127.0.0.1:20480");
  log.State(661, EnvironmentState::kTesting).Launch(660.5, "frontend-smoke");
  return log;
}

LogBuilder& Down(LogBuilder& log, double ms, std::vector<std::string> blockers = {}) {
  log.State(ms, EnvironmentState::kDeleting);
  log.Stopped(ms + 4, "postgres", Used(142, 38)).Stopped(ms + 4, "redis", Used(9.5, 6));
  log.Stopped(ms + 4, "cart", Used(12, 14));
  Receipt receipt{14, 6, 6, 6, 1, absl::Milliseconds(21), std::move(blockers)};
  const bool clean = receipt.blockers.empty();
  log.Receipt(ms + 21, receipt);
  if (clean) log.State(ms + 21.5, EnvironmentState::kDeleted);
  return log;
}

LogBuilder Passed() {
  LogBuilder log = ReadyShop();
  log.Succeeded(1840, "checkout-e2e", Used(610, 45));
  log.JobResult(1840, "checkout-e2e",
                {{"tries", "1"}, {"tests", "12"}, {"skipped", "1"}, {"junit", "artifacts/checkout-e2e/report.xml"}});
  log.Succeeded(980, "frontend-smoke").JobResult(980, "frontend-smoke", {{"tries", "1"}});
  log.Verdict(1841, Verdict::kPassed);
  return Down(log, 1842);
}

LogBuilder TestsFailed() {
  LogBuilder log = ReadyShop();
  const Cause cause = {CauseCode::kTestsFailed,
                       "checkout-e2e",
                       "2 of 12 tests failed",
                       "",
                       {"FAILED test_order.py::test_total - assert 41 == 42", "2 failed, 9 passed, 1 skipped"}};
  log.Failed(1840, "checkout-e2e", cause, Used(610, 45));
  log.JobResult(1840, "checkout-e2e",
                {{"tries", "2"},
                 {"tests", "12"},
                 {"failures", "2"},
                 {"skipped", "1"},
                 {"junit", "artifacts/checkout-e2e/report.xml"}});
  log.Succeeded(980, "frontend-smoke").JobResult(980, "frontend-smoke", {{"tries", "1"}});
  log.Verdict(1891, Verdict::kFailed, cause);
  return Down(log, 1892);
}

// The evidence and a name try to break out of every format.
LogBuilder Broken() {
  LogBuilder log = StartOfShop();
  const Cause cause = {CauseCode::kOutOfMemory,
                       "checkout",
                       "used 128 MiB of 128 MiB",
                       "Raise `resources.memory` of checkout.",
                       {"loading \x1b[31mcatalogue\x1b[0m", "<script>alert(1)</script> | @everyone ``` ]]> --> \xff",
                        std::string(300, 'x')},
                       true};
  log.Failed(455, "checkout", cause, Used(420, 128));
  log.Skipped(455, "frontend", "checkout")
      .Skipped(455, "checkout-e2e", "checkout")
      .Skipped(455, "frontend-smoke", "checkout");
  log.Verdict(505, Verdict::kError, cause).State(505, EnvironmentState::kFailed, cause);
  return Down(log, 506);
}

LogBuilder Cancelled() {
  LogBuilder log = StartOfShop();
  log.Verdict(470, Verdict::kCancelled, {CauseCode::kSuperseded, "", "request 8c1f of ci took its place"});
  return Down(log, 470);
}

LogBuilder Flaky() {
  LogBuilder log = ReadyShop();
  log.Waiting(1200, "checkout-e2e", 2, "retry")
      .Launch(1201, "checkout-e2e", 2)
      .Succeeded(1900, "checkout-e2e", Used(900, 50), 2);
  log.JobResult(1900, "checkout-e2e", {{"tries", "2"}, {"flaky", "true"}, {"tests", "12"}});
  log.Failed(980, "frontend-smoke", {CauseCode::kTestsFailed, "frontend-smoke", "exited with code 1 after 320 ms"});
  log.JobResult(980, "frontend-smoke", {{"tries", "1"}, {"flaky", "true"}, {"tests", "3"}, {"failures", "1"}});
  log.Verdict(1951, Verdict::kPassed);
  return Down(log, 1952);
}

LogBuilder Blocked() {
  LogBuilder log = ReadyShop();
  log.Succeeded(1840, "checkout-e2e").Succeeded(980, "frontend-smoke").Verdict(1841, Verdict::kPassed);
  return Down(log, 1842,
              {"mount /run/mayfly/shop-pr-12-abc/root: device or resource busy", "process 4711 (uninterruptible)"});
}

LogBuilder Up() {
  LogBuilder log = ReadyShop();
  log.Images(9, "cart", {{"shop/cart:1", "sha256:" + std::string(64, 'c')}, {"shop/proxy", ""}});
  log.Images(10, "frontend-smoke", {{"shop/frontend:1", "sha256:" + std::string(64, 'f')}});
  return log;
}

struct Case {
  std::string name;
  LogBuilder (*log)();
};
void PrintTo(const Case& test, std::ostream* out) {
  *out << test.name;
}

class ReportGoldenTest : public testing::TestWithParam<Case> {
 protected:
  Report report_ = BuildReport(GetParam().log().events());
  std::string Path(const std::string& extension) {
    return absl::StrCat("tests/golden/report/", GetParam().name, extension);
  }
  static std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }
};

TEST_P(ReportGoldenTest, Text) {
  const std::string text = WriteText(report_);
  ExpectGolden(Path(".txt"), text);
  EXPECT_EQ(FirstLine(text), Headline(report_));
  for (absl::string_view line : absl::StrSplit(text, '\n')) EXPECT_LE(line.size(), 110u) << line;
  EXPECT_FALSE(absl::StrContains(text, "\x1b"));
}

TEST_P(ReportGoldenTest, Json) {
  const std::string json = WriteJson(report_);
  ExpectGolden(Path(".json"), json);
  EXPECT_THAT(json, testing::StartsWith("{\n  \"verdict\": "));
}

TEST_P(ReportGoldenTest, Markdown) {
  const std::string markdown = WriteMarkdown(report_);
  ExpectGolden(Path(".md"), markdown);
  EXPECT_THAT(FirstLine(markdown), testing::StartsWith("### " + Outcome(report_)));
}

TEST_P(ReportGoldenTest, Junit) {
  JunitCase total{.classname = "test_order", .name = "test_total", .seconds = 0.2};
  JunitCase empty{.classname = "test_order", .name = "test_empty", .seconds = 0.01};
  if (GetParam().name == "tests_failed") {
    total.outcome = JunitCase::Outcome::kFailed;
    total.message = "assert 41 == 42";
    total.text = "def test_total():\n>   assert total == 42\x1b[0m\nE   <total> & \"42\" ]]>";
  }
  const bool ran = report_.verdict == Verdict::kPassed || report_.verdict == Verdict::kFailed;
  std::map<std::string, JunitFile> files;
  if (ran) files["checkout-e2e"] = JunitFile{{{"pytest", 0.21, {total, empty}}}};
  const std::string xml = WriteJunit(report_, files);
  ExpectGolden(Path(".xml"), xml);
  EXPECT_THAT(FirstLine(xml), testing::HasSubstr(Outcome(report_)));
  const auto read = ParseJunit(xml, "golden.xml");
  ASSERT_TRUE(read.ok()) << read.status();
  const bool healthy = report_.verdict == Verdict::kPassed && report_.teardown.blockers.empty();
  if (healthy) {
    EXPECT_EQ(read->Totals().failures + read->Totals().errors, 0);
  }
  EXPECT_EQ(read->Totals().failures, report_.verdict == Verdict::kFailed ? 1 : 0) << "only tests fail";
}

INSTANTIATE_TEST_SUITE_P(Logs, ReportGoldenTest,
                         testing::Values(Case{"passed", Passed}, Case{"tests_failed", TestsFailed},
                                         Case{"broken", Broken}, Case{"cancelled", Cancelled}, Case{"flaky", Flaky},
                                         Case{"blocked", Blocked}, Case{"up", Up}),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

}  // namespace
}  // namespace mayfly
