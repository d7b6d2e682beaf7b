#include "server/app/announce.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "mayfly/base/state_dir.h"
#include "mayfly/base/status.h"
#include "mayfly/base/version.h"
#include "server/base/unique_fd.h"
#include "server/obs/log.h"

namespace mayfly::app {
namespace {

// Paths may hold any byte; quotes, backslashes and control characters are what JSON cannot take as they are.
std::string JsonString(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned char>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace

absl::Status WriteServerFile(const std::string& state_dir, const std::string& socket, absl::Time start_time,
                             const std::string& engine) {
  const std::string path = ServerFilePath(state_dir);
  const std::string next = absl::StrCat(path, ".next");
  const std::string text = absl::StrCat(
      "{\"pid\": ", getpid(),
      ", \"start_time\": ", JsonString(absl::FormatTime(absl::RFC3339_sec, start_time, absl::UTCTimeZone())),
      ", \"version\": ", JsonString(Version()), ", \"commit\": ", JsonString(Commit()),
      ", \"engine\": ", JsonString(engine), ", \"socket\": ", JsonString(socket),
      ", \"state_dir\": ", JsonString(state_dir), "}\n");
  unlink(next.c_str());
  const UniqueFd fd(open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", next));
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", next));
  }
  if (rename(next.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, absl::StrCat("rename ", next));
  return absl::OkStatus();
}

void RemoveServerFile(const std::string& state_dir) {
  unlink(ServerFilePath(state_dir).c_str());
}

void NotifySystemd(absl::string_view message) {
  const char* const name = getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name == nullptr || (name[0] != '/' && name[0] != '@') || strlen(name) >= sizeof(address.sun_path)) return;
  memcpy(address.sun_path, name, strlen(name));
  if (name[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + strlen(name));
  if (sendto(fd.get(), message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), length) <
      0) {
    LogWarning("systemd cannot be told", {{"error", ErrnoStatus(errno, "sendto")}});
  }
}

void NotifyStarter(int fd) {
  if (fd < 0) return;
  const absl::string_view line = "ready\n";
  if (write(fd, line.data(), line.size()) < 0) LogDebug("whoever started the server does not listen");
  close(fd);
}

}  // namespace mayfly::app
