#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/log_follower.h"
#include "server/engine/parts/log_reader.h"
#include "server/engine/parts/log_writer.h"
#include "tests/support/reactor_server.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::local {
namespace {

using testing::_;
using testing::ElementsAre;

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_fd_ = open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    Begin();
  }
  void TearDown() override {
    writer_.reset();
    CloseEnds();
    close(dir_fd_);
  }
  // The next attempt of the node "web".
  void Begin(int max_segments = kDefaultSegments) {
    writer_.reset();
    CloseEnds();
    int out[2], err[2];
    ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(err, O_CLOEXEC), 0);
    out_ = out[1];
    err_ = err[1];
    LogWriter::Options options;
    options.dir_fd = dir_fd_;
    options.node = "web";
    options.max_segments = max_segments;
    options.on_line = [this](absl::string_view line, bool) { seen_.emplace_back(line); };
    options.on_end = [this] { ended_ = true; };
    auto writer = LogWriter::Create(reactor_, options, out[0], err[0]);
    ASSERT_OK(writer);
    writer_ = *std::move(writer);
  }
  void CloseEnds() {
    if (out_ >= 0) close(out_);
    if (err_ >= 0) close(err_);
    out_ = err_ = -1;
  }
  // From the service to the log.
  void Print(absl::string_view text, bool to_stderr = false) {
    while (!text.empty()) {
      const size_t part = std::min<size_t>(text.size(), 32 * 1024);
      ASSERT_EQ(write(to_stderr ? err_ : out_, text.data(), part), static_cast<ssize_t>(part));
      text.remove_prefix(part);
      writer_->Drain();
    }
  }
  LogSource::Chunk Read(int64_t offset = 0, int64_t max_bytes = 1 << 20) {
    const auto chunk = LogReader().ReadLog(dir_.path(), "web", offset, max_bytes);
    EXPECT_OK(chunk);
    return chunk.value_or(LogSource::Chunk());
  }
  static std::vector<std::string> Texts(const LogSource::Chunk& chunk) {
    std::vector<std::string> texts;
    for (const LogLine& line : chunk.lines) texts.push_back((line.stderr_stream ? "2:" : "1:") + line.text);
    return texts;
  }
  int64_t BytesOnDisk() const {
    int64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      bytes += static_cast<int64_t>(entry.file_size());
    }
    return bytes;
  }
  // Numbered lines of 100 characters, about `mib` MiB on disk.
  void PrintMany(int mib) {
    std::string text;
    for (int i = 0; i < mib * 9039; ++i) absl::StrAppendFormat(&text, "%08d %090d\n", lines_printed_++, 0);
    Print(text);
  }

  Reactor reactor_;
  TempDir dir_;
  int dir_fd_ = -1;
  int out_ = -1, err_ = -1;
  std::unique_ptr<LogWriter> writer_;
  std::vector<std::string> seen_;
  bool ended_ = false;
  int lines_printed_ = 0;
};

TEST_F(LogTest, LinesOfBothStreamsAreKeptWithStampAndStream) {
  const absl::Time before = absl::Now();
  Print("hello\n\nworld\n");
  Print("oops\n", true);
  const LogSource::Chunk chunk = Read();
  EXPECT_THAT(Texts(chunk), ElementsAre("1:hello", "1:", "1:world", "2:oops"));
  EXPECT_TRUE(chunk.end);
  EXPECT_EQ(chunk.dropped_bytes, 0);
  for (const LogLine& line : chunk.lines)
    EXPECT_THAT(line.time, testing::AllOf(testing::Ge(before - absl::Seconds(1)), testing::Le(absl::Now())));
  EXPECT_THAT(writer_->Tail(2), ElementsAre("world", "oops"));
  EXPECT_THAT(seen_, ElementsAre("hello", "", "world", "oops"));
}

TEST_F(LogTest, ReadingGoesOnWhereItEnded) {
  Print("a\nb\n");
  const LogSource::Chunk first = Read(0, 1);
  EXPECT_THAT(Texts(first), ElementsAre("1:a"));
  EXPECT_FALSE(first.end);
  const LogSource::Chunk second = Read(first.next_offset);
  EXPECT_THAT(Texts(second), ElementsAre("1:b"));
  EXPECT_TRUE(Read(second.next_offset).end);
  Print("c\n");
  EXPECT_THAT(Texts(Read(second.next_offset)), ElementsAre("1:c"));
  EXPECT_THAT(Texts(Read(first.next_offset + 3)), ElementsAre("1:c")) << "an offset within a line goes on to the next";
  EXPECT_EQ(Read(1 << 30).next_offset, Read().next_offset) << "past the end is the end";
}

TEST_F(LogTest, ThePipesAreReadByTheReactorAndTheirEndIsTold) {
  ASSERT_EQ(write(out_, "from the pipe\nlast words", 24), 24);
  EXPECT_TRUE(RunUntil(reactor_, [this] { return !seen_.empty(); }));
  EXPECT_THAT(seen_, ElementsAre("from the pipe"));
  CloseEnds();
  EXPECT_TRUE(RunUntil(reactor_, [this] { return ended_; }));
  EXPECT_TRUE(writer_->ended());
  EXPECT_THAT(Texts(Read()), ElementsAre("1:from the pipe", "1:last words"));
}

TEST_F(LogTest, APromptWithoutLineEndIsShownSoonAndJoinedLater) {
  ASSERT_EQ(write(out_, "Password: ", 10), 10);
  EXPECT_TRUE(RunUntil(reactor_, [this] {
    const auto chunk = LogReader().ReadLog(dir_.path(), "web", 0, 1000);
    return chunk.ok() && !chunk->lines.empty();
  }));
  EXPECT_THAT(Texts(Read()), ElementsAre("1:Password: "));
  Print("unrelated\n", true);
  Print("accepted\n");
  EXPECT_THAT(Texts(Read()), ElementsAre("1:Password: accepted", "2:unrelated"));
  EXPECT_EQ(seen_.back(), "Password: accepted");
}

TEST_F(LogTest, LongLinesAreJoinedUpToABound) {
  Print(std::string(40000, 'x') + "\n" + std::string(200000, 'y') + "\nz\n");
  const LogSource::Chunk chunk = Read();
  ASSERT_GE(chunk.lines.size(), 3u);
  EXPECT_EQ(chunk.lines[0].text, std::string(40000, 'x'));
  std::string rest;
  for (size_t i = 1; i + 1 < chunk.lines.size(); ++i) {
    EXPECT_LE(chunk.lines[i].text.size(), 64u * 1024);
    rest += chunk.lines[i].text;
  }
  EXPECT_EQ(rest, std::string(200000, 'y'));
  EXPECT_EQ(chunk.lines.back().text, "z");
}

TEST_F(LogTest, AnyBytesSurvive) {
  std::string bytes;
  for (int c = 0; c < 256; ++c) bytes += static_cast<char>(c == '\n' ? 'n' : c);
  Print(bytes + "\n");
  EXPECT_EQ(Read().lines.at(0).text, bytes);
}

TEST_F(LogTest, DiskUseIsBoundedAndTheBeginningAndTheEndAreKept) {
  Begin(3);
  PrintMany(6);
  EXPECT_LE(BytesOnDisk(), 3 * kSegmentBytes);
  int64_t offset = 0, dropped = 0;
  std::vector<int> numbers;
  for (bool end = false; !end;) {
    const LogSource::Chunk chunk = Read(offset, 100000);
    for (const LogLine& line : chunk.lines) numbers.push_back(atoi(line.text.c_str()));
    offset = chunk.next_offset;
    dropped += chunk.dropped_bytes;
    end = chunk.end;
  }
  EXPECT_EQ(numbers.front(), 0);
  EXPECT_EQ(numbers.back(), lines_printed_ - 1);
  EXPECT_THAT(dropped, testing::AllOf(testing::Ge(2 * kSegmentBytes), testing::Le(4 * kSegmentBytes)));
  // One gap, right behind the first segment.
  int gaps = 0;
  for (size_t i = 1; i < numbers.size(); ++i) gaps += numbers[i] != numbers[i - 1] + 1;
  EXPECT_EQ(gaps, 1);
}

TEST_F(LogTest, AnOffsetOutlivesTheRemovalOfWhatItMeant) {
  Begin(2);
  PrintMany(2);
  const LogSource::Chunk before = Read(kSegmentBytes, 1000);
  PrintMany(3);
  const LogSource::Chunk after = Read(before.next_offset, 1000);
  EXPECT_GT(after.dropped_bytes, kSegmentBytes);
  EXPECT_GT(atoi(after.lines.at(0).text.c_str()), atoi(before.lines.back().text.c_str()) + 1);
}

TEST_F(LogTest, TheNextAttemptContinuesTheLog) {
  Print("first attempt\n");
  Begin();
  Print("second attempt\n");
  EXPECT_THAT(Texts(Read()), ElementsAre("1:first attempt", "1:second attempt"));
}

TEST_F(LogTest, HalfARecordOfAKilledWriterIsCutOff) {
  Print("whole\n");
  writer_.reset();
  std::string half;
  AppendRecord(half, 0, 0, "this one was cut");
  std::ofstream(dir_ / "web.log", std::ios::app) << half.substr(0, half.size() - 5);
  EXPECT_THAT(Texts(Read()), ElementsAre("1:whole"));
  Begin();
  Print("new\n");
  EXPECT_THAT(Texts(Read()), ElementsAre("1:whole", "1:new"));
}

TEST_F(LogTest, GarbageInTheFileIsSkippedNotObeyed) {
  Print("whole\n");
  std::ofstream(dir_ / "web.log", std::ios::app) << std::string(5000, '\xff');
  const LogSource::Chunk chunk = Read();
  EXPECT_THAT(Texts(chunk), ElementsAre("1:whole"));
  EXPECT_TRUE(chunk.end);
}

TEST_F(LogTest, AFullDiskCostsOutputAndIsCounted) {
  // A file size limit stands in for the full disk: the write fails, half done.
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, SIG_IGN);
  const struct rlimit tight = {50000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &tight);
  PrintMany(1);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_GT(writer_->lost_bytes(), 500000);
  EXPECT_LE(BytesOnDisk(), 50000);
  // As soon as there is room again, the log goes on and tells what is missing.
  EXPECT_TRUE(RunUntil(reactor_, [this] {
    Print("room again\n");
    return !Read().lines.empty() && Read().lines.back().text == "room again";
  }));
  EXPECT_EQ(Read().dropped_bytes, writer_->lost_bytes());
}

TEST_F(LogTest, AFolderThatVanishedIsNoReasonToFail) {
  writer_.reset();
  std::filesystem::remove_all(dir_.path());
  Begin();
  Print("into the void\n");
  EXPECT_THAT(seen_, ElementsAre("into the void"));
  EXPECT_EQ(writer_->lost_bytes(), 13);
}

TEST_F(LogTest, ATalkativeServiceDoesNotStarveOthers) {
  int beats = 0;
  std::function<void()> beat = [&] {
    ++beats;
    reactor_.AddTimer(absl::ZeroDuration(), beat);
  };
  reactor_.AddTimer(absl::ZeroDuration(), beat);
  fcntl(out_, F_SETPIPE_SZ, 1 << 20);
  fcntl(out_, F_SETFL, O_NONBLOCK);
  const std::string noise(1 << 20, '\n');
  const ssize_t printed = write(out_, noise.data(), noise.size());
  ASSERT_GT(printed, 0);
  EXPECT_TRUE(RunUntil(reactor_, [&] { return static_cast<ssize_t>(seen_.size()) == printed; }));
  EXPECT_GE(beats, printed / (32 * 1024) - 1);
}

TEST_F(LogTest, TheTailIsBounded) {
  for (int i = 0; i < 150; ++i) Print(absl::StrCat(i, std::string(5000, 'x'), "\n"));
  const std::vector<std::string> tail = writer_->Tail();
  EXPECT_EQ(tail.size(), 100u);
  EXPECT_EQ(tail.back().size(), 1024u);
  EXPECT_EQ(tail.back().substr(0, 4), "149x");
}

TEST_F(LogTest, NamesThatAreNoNodesAreRefused) {
  for (const char* name : {"", "..", ".", "../web", "a/b", "a\nb", ".hidden"}) {
    EXPECT_THAT(LogReader().ReadLog(dir_.path(), name, 0, 1), StatusIs(absl::StatusCode::kInvalidArgument, _)) << name;
  }
  EXPECT_THAT(LogReader().ReadLog(dir_.path(), "web", -1, 1), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(LogReader().ReadLog(dir_.path(), "db", 0, 1), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(LogReader().ReadLog(dir_ / "none", "web", 0, 1), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(LogTest, ANodeThatRanAndSaidNothingIsFound) {
  EXPECT_TRUE(RunUntil(reactor_, [this] { return LogReader().ReadLog(dir_.path(), "web", 0, 1).ok(); }));
  EXPECT_TRUE(Read().end);
  std::filesystem::remove(dir_ / "web.log");
  Begin();
  writer_.reset();
  EXPECT_TRUE(Read().end) << "also when its life was short";
}

TEST_F(LogTest, LinksAndFoldersAreNotFollowed) {
  std::filesystem::create_symlink("/etc/passwd", dir_ / "link.log");
  std::filesystem::create_directory(dir_ / "folder.log");
  ASSERT_EQ(mkfifo((dir_ / "fifo.log").c_str(), 0600), 0);
  for (const char* name : {"link", "folder", "fifo"}) {
    EXPECT_THAT(LogReader().ReadLog(dir_.path(), name, 0, 1), StatusIs(absl::StatusCode::kNotFound, _)) << name;
  }
}

TEST_F(LogTest, TheLastLinesAreFound) {
  for (int i = 0; i < 10; ++i) Print(absl::StrCat("line ", i, "\n"));
  const auto texts_from = [&](int64_t lines) { return Texts(Read(*OffsetOfLastLines(dir_.path(), "web", lines))); };
  EXPECT_THAT(texts_from(2), ElementsAre("1:line 8", "1:line 9"));
  EXPECT_THAT(texts_from(0), ElementsAre());
  EXPECT_EQ(texts_from(50).size(), 10u);
  EXPECT_THAT(OffsetOfLastLines(dir_.path(), "db", 2), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_F(LogTest, FollowersAreWokenByTheirNodeOnly) {
  auto follower = LogFollower::Create();
  ASSERT_OK(follower);
  ASSERT_OK(reactor_.Add((*follower)->fd(), EPOLLIN, [&](uint32_t) { (*follower)->OnReadable(); }));
  int web = 0, web2 = 0, late = 0;
  const auto watch = [&](const std::string& node, int& count) {
    return (*follower)->Watch(dir_.path(), node, [&count] { ++count; });
  };
  const auto web_id = watch("web", web);
  ASSERT_OK(web_id);
  ASSERT_OK(watch("web.log", web2));
  ASSERT_OK(watch("late", late));
  Print("grows\n");
  EXPECT_TRUE(RunUntil(reactor_, [&] { return web == 1; }));
  std::ofstream(dir_ / "late.log.1") << "x";
  EXPECT_TRUE(RunUntil(reactor_, [&] { return late > 0; }));
  (*follower)->Unwatch(*web_id);
  Print("unheard\n");
  std::ofstream(dir_ / "web.log.log") << "x";
  EXPECT_TRUE(RunUntil(reactor_, [&] { return web2 > 0; }));
  EXPECT_EQ(web, 1);
  EXPECT_FALSE((*follower)->Watch(dir_ / "none", "web", [] {}).ok());
  reactor_.Remove((*follower)->fd());
}

}  // namespace
}  // namespace mayfly::local
