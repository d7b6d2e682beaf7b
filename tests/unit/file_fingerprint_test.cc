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
  TempDir dir_;
  const std::string path_ = dir_ / "service";
  FileFingerprints fingerprints_;
};

TEST_F(FileFingerprintTest, AnotherContentOfTheSameSizeAndTimeIsSeen) {
  Write("version 1");
  SetModified(1000);
  const std::string first = fingerprints_.Of(path_);
  Write("version 2");
  SetModified(1000);
  EXPECT_NE(fingerprints_.Of(path_), first);
}

TEST_F(FileFingerprintTest, AFileThatWasOnlyTouchedIsTheSame) {
  Write("version 1");
  const std::string first = fingerprints_.Of(path_);
  SetModified(1000);
  EXPECT_EQ(fingerprints_.Of(path_), first);
  std::filesystem::copy_file(path_, dir_ / "copy");
  EXPECT_EQ(fingerprints_.Of(dir_ / "copy"), first);
}

TEST_F(FileFingerprintTest, AnOldFileIsReadOnce) {
  // Of the host, since nothing here makes a file whose inode changed long ago.
  const std::string old = "/bin/sh";
  EXPECT_FALSE(fingerprints_.Of(old).empty());
  fingerprints_.Of(old);
  EXPECT_EQ(fingerprints_.reads(), 1);
  Write("just now");
  fingerprints_.Of(path_);
  fingerprints_.Of(path_);
  EXPECT_EQ(fingerprints_.reads(), 3);
}

TEST_F(FileFingerprintTest, AFolderIsAllThatLiesInItButForWhatToolsLeaveThere) {
  const std::string folder = dir_ / "service/lib";
  std::filesystem::create_directories(folder + "/.git");
  std::filesystem::create_directories(folder + "/node_modules");
  const auto print = [&] { return fingerprints_.Of(dir_ / "service"); };
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
  EXPECT_EQ(fingerprints_.Of(dir_.path()), "");
  EXPECT_EQ(fingerprints_.Of(dir_ / "missing"), "");
  ASSERT_EQ(mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(fingerprints_.Of(dir_ / "pipe"), "");
}

}  // namespace
}  // namespace mayfly
