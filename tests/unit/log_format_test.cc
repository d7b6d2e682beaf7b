#include "gtest/gtest.h"
#include "server/obs/log.h"

namespace mayfly {
namespace {

const absl::Time kTime = absl::FromUnixMillis(1700000000123);

TEST(LogFormatTest, LogfmtQuotesWhatNeedsIt) {
  EXPECT_EQ(
      FormatLogRecord(LogFormat::kLogfmt, LogLevel::kInfo, kTime, "environment accepted",
                      {{"name", "pr-7"}, {"nodes", 21}, {"why", "a \"b\""}, {"empty", ""}}),
      "time=2023-11-14T22:13:20.123Z level=info msg=\"environment accepted\" name=pr-7 nodes=21 why=\"a \\\"b\\\"\" "
      "empty=\"\"");
}

TEST(LogFormatTest, ARecordIsOneLineWhateverTheValuesHold) {
  const std::string evil = std::string("a\nlevel=error msg=faked\x1b[2J\r\xff") + '\0';
  for (const LogFormat format : {LogFormat::kLogfmt, LogFormat::kJson}) {
    const std::string line = FormatLogRecord(format, LogLevel::kWarning, kTime, "m", {{"v", evil}});
    for (const unsigned char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << line;
  }
}

TEST(LogFormatTest, JsonIsJson) {
  EXPECT_EQ(FormatLogRecord(LogFormat::kJson, LogLevel::kError, kTime, "failed",
                            {{"error", absl::NotFoundError("no \"x\"\n")}, {"ok", false}}),
            R"({"time":"2023-11-14T22:13:20.123Z","level":"error","msg":"failed",)"
            R"("error":"NOT_FOUND: no \"x\"\\n","ok":"false"})");
}

TEST(LogFormatTest, LongValuesAreCut) {
  EXPECT_LT(FormatLogRecord(LogFormat::kJson, LogLevel::kInfo, kTime, "m", {{"v", std::string(100000, 'x')}}).size(),
            5000u);
}

}  // namespace
}  // namespace mayfly
