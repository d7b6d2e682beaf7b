#include "server/engine/kubernetes/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "mayfly/base/status.h"

namespace mayfly::kubernetes {

absl::StatusOr<Ledger> Ledger::Open(const std::string& file) {
  UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, file);
  std::string text;
  char buffer[16384];
  ssize_t got = 0;
  while ((got = read(fd.get(), buffer, sizeof buffer)) > 0) text.append(buffer, got);
  if (got < 0) return ErrnoStatus(errno, file);
  Ledger ledger(std::move(fd), file);
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  // Or the next line would continue it.
  if (whole != text.size() && ftruncate(ledger.fd_.get(), static_cast<off_t>(whole)) != 0) {
    return ErrnoStatus(errno, file);
  }
  for (const absl::string_view line : absl::StrSplit(absl::string_view(text).substr(0, whole), '\n')) {
    ledger.Apply(line);
  }
  return ledger;
}

void Ledger::Apply(absl::string_view line) {
  const std::vector<std::string> words = absl::StrSplit(line, ' ');
  if (words.size() == 2 && words[0] == "intend") objects_.emplace(words[1], "");
  if (words.size() == 3 && words[0] == "made") objects_[words[1]] = words[2];
  if (words.size() == 2 && words[0] == "gone") objects_.erase(words[1]);
}

absl::Status Ledger::Append(const std::string& line) {
  const std::string text = absl::StrCat(line, "\n");
  const ssize_t done = write(fd_.get(), text.data(), text.size());
  if (done == static_cast<ssize_t>(text.size())) {
    Apply(line);
    return absl::OkStatus();
  }
  return ErrnoStatus(done < 0 ? errno : ENOSPC, file_);
}

absl::Status Ledger::Intend(const std::string& path) {
  return objects_.count(path) > 0 ? absl::OkStatus() : Append(absl::StrCat("intend ", path));
}

absl::Status Ledger::Made(const std::string& path, const std::string& uid) {
  const auto it = objects_.find(path);
  return it != objects_.end() && it->second == uid ? absl::OkStatus() : Append(absl::StrCat("made ", path, " ", uid));
}

absl::Status Ledger::Gone(const std::string& path) {
  return objects_.count(path) == 0 ? absl::OkStatus() : Append(absl::StrCat("gone ", path));
}

}  // namespace mayfly::kubernetes
