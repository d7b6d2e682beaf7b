// What an update takes for a changed file.
#include "server/plan/file_fingerprint.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace mayfly {
namespace {

class FileFingerprintTest : public testing::Test {
 protected:
  void Write(const std::string& content) { std::ofstream(path_) << content; }
  // As if it had been written that long ago; its inode still changed now.
  void SetModified(time_t seconds) {
    const timespec times[2] = {{seconds, 0}, {seconds, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, path_.c_str(), times, 0), 0);
  }
  std::string Of(const std::string& name) { return fingerprints_.Of(folder_, name); }
  TempDir dir_;
  const Folder folder_ = Folder::Open(dir_.path());
  const std::string path_ = dir_ / "service";
  FileFingerprints fingerprints_;
};

TEST_F(FileFingerprintTest, AnotherContentOfTheSameSizeAndTimeIsSeen) {
  Write("version 1");
  SetModified(1000);
  const std::string first = Of("service");
  Write("version 2");
  SetModified(1000);
  EXPECT_NE(Of("service"), first);
}

TEST_F(FileFingerprintTest, AFileThatWasOnlyTouchedIsTheSame) {
  Write("version 1");
  const std::string first = Of("service");
  SetModified(1000);
  EXPECT_EQ(Of("service"), first);
  std::filesystem::copy_file(path_, dir_ / "copy");
  EXPECT_EQ(Of("copy"), first);
}

TEST_F(FileFingerprintTest, AnOldFileIsReadOnce) {
  // Of the host, since nothing here makes a file whose inode changed long ago.
  const Folder top = Folder::Open("/");
  EXPECT_FALSE(fingerprints_.Of(top, "bin/sh").empty());
  fingerprints_.Of(top, "bin/sh");
  EXPECT_EQ(fingerprints_.reads(), 1);
  Write("just now");
  Of("service");
  Of("service");
  EXPECT_EQ(fingerprints_.reads(), 3);
}

TEST_F(FileFingerprintTest, AFolderIsAllThatLiesInItButForWhatToolsLeaveThere) {
  const std::string folder = dir_ / "service/lib";
  std::filesystem::create_directories(folder + "/.git");
  std::filesystem::create_directories(folder + "/node_modules");
  const auto print = [&] { return Of("service"); };
  const auto write = [&](const std::string& name, const std::string& text) { std::ofstream(folder + name) << text; };
  EXPECT_EQ(print(), "");
  write("/a.py", "one");
  const std::string one = print();
  write("/a.py", "two");
  const std::string two = print();
  EXPECT_NE(two, one);
  write("/b.py", "");
  EXPECT_NE(print(), two);
  std::filesystem::remove(folder + "/b.py");
  write("/.git/index", "x");
  write("/node_modules/x.js", "x");
  write("/.a.py.swp", "x");
  EXPECT_EQ(print(), two);
  std::filesystem::rename(folder + "/a.py", folder + "/c.py");
  EXPECT_NE(print(), two);
}

TEST_F(FileFingerprintTest, WhatIsNoOrdinaryFileHasNone) {
  EXPECT_EQ(Of(""), "");
  EXPECT_EQ(Of("missing"), "");
  ASSERT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(Of("pipe"), "");
}

TEST_F(FileFingerprintTest, WhatLeadsOutOfTheFolderHasNone) {
  Write("version 1");
  std::filesystem::create_directory(dir_ / "inside");
  std::filesystem::create_symlink("../service", dir_ / "inside/out");
  std::filesystem::create_symlink("inside/out", dir_ / "back");
  const Folder inside = Folder::Open(dir_ / "inside");
  EXPECT_EQ(fingerprints_.Of(inside, "out"), "");
  EXPECT_EQ(fingerprints_.Of(inside, "../service"), "");
  EXPECT_EQ(Of("back"), Of("service")) << "seen from above, it does not";
}

}  // namespace
}  // namespace mayfly
