// Small file helpers of the client.
#ifndef MAYFLY_CLIENT_LIB_FILES_H_
#define MAYFLY_CLIENT_LIB_FILES_H_

#include <unistd.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// Owns a descriptor; negative: none.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// The whole file; OUT_OF_RANGE when it is longer than `limit` bytes.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit);

// Replaces the file. The folders above it are made.
absl::Status WriteFile(const std::string& path, absl::string_view content);

// As WriteFile, but ALREADY_EXISTS when there is a file of that name.
absl::Status WriteNewFile(const std::string& path, absl::string_view content);

// All of `data`, whatever short writes come.
absl::Status WriteAll(int fd, absl::string_view data);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_LIB_FILES_H_
