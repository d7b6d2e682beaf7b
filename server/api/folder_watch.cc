#include "server/api/folder_watch.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly::api {
namespace {

constexpr uint32_t kChanges = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_DELETE;

}  // namespace

FolderWatcher::Watch::~Watch() {
  owner_->Remove(id_);
}

FolderWatcher::FolderWatcher()
    : inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_(&FolderWatcher::Run, this) {}

FolderWatcher::~FolderWatcher() {
  eventfd_write(stop_.get(), 1);
  thread_.join();
}

absl::StatusOr<std::unique_ptr<FolderWatcher::Watch>> FolderWatcher::Add(const std::string& folder,
                                                                         std::function<void()> changed) {
  MutexLock lock(mutex_);
  // Two watches of one folder share the kernel's descriptor.
  const int descriptor = inotify_add_watch(inotify_.get(), folder.c_str(), kChanges | IN_ONLYDIR);
  if (descriptor < 0 && (errno == ENOSPC || errno == ENOMEM || errno == EBADF)) {
    return absl::ResourceExhaustedError("no inotify watch is left on this host: see fs.inotify.max_user_watches");
  }
  if (descriptor < 0) return ErrnoStatus(errno, absl::StrCat("watch ", folder));
  const int64_t id = next_id_++;
  entries_[id] = {descriptor, std::move(changed)};
  return std::unique_ptr<Watch>(new Watch(this, id));
}

void FolderWatcher::Remove(int64_t id) {
  MutexLock lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  const int descriptor = it->second.descriptor;
  entries_.erase(it);
  for (const auto& [other, entry] : entries_) {
    if (entry.descriptor == descriptor) return;
  }
  inotify_rm_watch(inotify_.get(), descriptor);
}

void FolderWatcher::Run() {
  while (true) {
    pollfd polls[] = {{inotify_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (poll(polls, 2, -1) < 0 && errno != EINTR) return;
    if (polls[1].revents != 0) return;
    std::set<int> changed;
    alignas(inotify_event) char buffer[16384];
    for (ssize_t size; (size = read(inotify_.get(), buffer, sizeof(buffer))) > 0;) {
      for (ssize_t at = 0; at < size;) {
        const auto* const event = reinterpret_cast<const inotify_event*>(buffer + at);
        changed.insert(event->wd);  // -1 is an overflow: everybody looks.
        at += static_cast<ssize_t>(sizeof(inotify_event)) + event->len;
      }
      if (changed.size() > 64) break;
    }
    MutexLock lock(mutex_);
    for (const auto& [id, entry] : entries_) {
      if (changed.count(entry.descriptor) > 0 || changed.count(-1) > 0) entry.changed();
    }
  }
}

}  // namespace mayfly::api
