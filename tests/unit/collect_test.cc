// Files come out of an environment through a stream. Inside, whatever a service made may lie there; outside, whatever a
// sender that has been taken over may say.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/file_stream.h"
#include "tests/support/seed.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace mayfly::local {
namespace {

using testing::_;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

namespace fs = std::filesystem;

class CollectTest : public testing::Test {
 protected:
  CollectTest() {
    fs::create_directories(inside());
    fs::create_directories(outside());
    Write(absl::StrCat(world_.path(), "/secret"), "secret");
  }

  std::string inside() const { return absl::StrCat(world_.path(), "/inside"); }
  std::string outside() const { return absl::StrCat(world_.path(), "/outside"); }

  static void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string Read(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  // Sends from inside and receives outside; the sender's code.
  int Collect(const std::vector<std::string>& paths, int64_t max_bytes = 1 << 20) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    int code = -1;
    std::thread sender([&] {
      code = SendFiles(inside(), paths, max_bytes, ends[1]);
      close(ends[1]);
    });
    FileReceiver receiver(outside(), max_bytes);
    char buffer[1000];
    for (ssize_t n = 0; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) {
      if (received_.ok()) received_ = receiver.Feed(absl::string_view(buffer, n));
    }
    sender.join();
    close(ends[0]);
    return code;
  }

  std::vector<std::string> Received() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(outside())) {
      if (!entry.is_directory()) found.push_back(fs::relative(entry.path(), outside()));
    }
    return found;
  }

  static std::string Record(const std::string& name, uint64_t size, const std::string& bytes) {
    std::string record(12, '\0');
    const uint32_t name_size = static_cast<uint32_t>(name.size());
    std::memcpy(record.data(), &name_size, 4);
    std::memcpy(record.data() + 4, &size, 8);
    return record + name + bytes;
  }

  TempDir world_;
  absl::Status received_;
};

TEST_F(CollectTest, FilesAndFoldersArrive) {
  fs::create_directories(inside() + "/reports/deep");
  Write(inside() + "/reports/deep/a.xml", "<a/>");
  Write(inside() + "/b.xml", std::string(5000, 'b'));
  EXPECT_EQ(Collect({"reports", "b.xml", "missing"}), 0);
  EXPECT_OK(received_);
  EXPECT_THAT(Received(), UnorderedElementsAre("reports/deep/a.xml", "b.xml"));
  EXPECT_EQ(Read(outside() + "/b.xml"), std::string(5000, 'b'));
}

TEST_F(CollectTest, NoLinkIsFollowed) {
  fs::create_symlink("../secret", inside() + "/link");
  fs::create_directory_symlink("..", inside() + "/up");
  fs::create_directories(inside() + "/reports");
  fs::create_symlink("../../secret", inside() + "/reports/link");
  EXPECT_EQ(Collect({"link", "up", "up/secret", "reports"}), 0);
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, NoPathLeadsOut) {
  EXPECT_EQ(Collect({"../secret", world_.path() + "/secret", "", "reports/../../secret"}), 0);
  EXPECT_OK(received_);  // Refused inside already.
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, WhatIsNoFileIsLeftOutWithoutWaiting) {
  ASSERT_EQ(mkfifo((inside() + "/fifo").c_str(), 0600), 0);
  if (geteuid() == 0) {
    ASSERT_EQ(mknod((inside() + "/zero").c_str(), S_IFCHR | 0600, 1 << 8 | 5), 0);
  }
  EXPECT_EQ(Collect({"fifo", "zero", "."}), 0);
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, AHugeSparseFileIsRefusedUnread) {
  Write(inside() + "/huge", "");
  fs::resize_file(inside() + "/huge", int64_t{1} << 40);
  EXPECT_EQ(Collect({"huge"}), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, ABottomlessFolderEnds) {
  fs::path folder = inside();
  for (int i = 0; i < 200; ++i) fs::create_directory(folder /= "d");
  Write(folder / "deep", "deep");
  EXPECT_EQ(Collect({"d"}), 0);
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, ANameThatLeadsOutIsRefused) {
  const std::vector<std::string> names = {"../x", "/x", "a/../../x",           "..", "a//x", "./x",
                                          "",     "a/", std::string("a\0b", 3)};
  for (const std::string& name : names) {
    FileReceiver receiver(outside(), 100);
    EXPECT_THAT(receiver.Feed(Record(name, 1, "x")), StatusIs(absl::StatusCode::kInvalidArgument, _)) << name;
  }
  FileReceiver receiver(outside(), 100);
  std::string deep = "x";
  for (int i = 0; i < 1000; ++i) deep = "d/" + deep;
  EXPECT_THAT(receiver.Feed(Record(deep, 1, "x")), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(Received(), IsEmpty());
}

TEST_F(CollectTest, NoMoreThanAllowedIsWritten) {
  FileReceiver receiver(outside(), 100);
  EXPECT_OK(receiver.Feed(Record("a", 60, std::string(60, 'a'))));
  EXPECT_THAT(receiver.Feed(Record("b", 60, std::string(60, 'b'))), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(FileReceiver(outside(), 100).Feed(Record("c", ~uint64_t{0}, "")),
              StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(Received(), ElementsAre("a"));
}

TEST_F(CollectTest, EmptyFilesAreCounted) {
  FileReceiver receiver(outside(), 100);
  absl::Status status;
  int files = 0;
  for (; status.ok() && files <= FileReceiver::kMaxFiles; ++files) status = receiver.Feed(Record("same", 0, ""));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(files, FileReceiver::kMaxFiles + 1);
}

TEST_F(CollectTest, RandomStreamsStayInside) {
  std::mt19937 random(TestSeed());
  for (int round = 0; round < 300; ++round) {
    std::string stream;
    for (int record = 0; record < 5; ++record) {
      std::string name(random() % 8, 'x');
      for (char& c : name) c = "x./\0y"[random() % 5];
      const uint64_t size = random() % 20;
      stream += Record(name, random() % 4 == 0 ? random() : size, std::string(size, 'z'));
    }
    if (random() % 2 == 0) stream[random() % stream.size()] = static_cast<char>(random());
    FileReceiver receiver(outside(), 1000);
    absl::Status status;
    for (size_t at = 0; at < stream.size() && status.ok();) {
      const size_t piece = 1 + random() % 40;
      status = receiver.Feed(absl::string_view(stream).substr(at, piece));
      at += piece;
    }
  }
  std::vector<std::string> beside;
  for (const auto& entry : fs::directory_iterator(world_.path())) beside.push_back(entry.path().filename());
  EXPECT_THAT(beside, UnorderedElementsAre("inside", "outside", "secret"));
  EXPECT_EQ(Read(world_.path() + "/secret"), "secret");
}

}  // namespace
}  // namespace mayfly::local
