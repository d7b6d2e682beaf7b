#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/engine/local/launcher_impl.h"

namespace mayfly::local {
namespace {

constexpr uint32_t kFirstHostId = 2000000000;
constexpr size_t kRemembered = 8;
constexpr absl::Duration kQuiet = absl::Milliseconds(100);
constexpr absl::Duration kTrimAfter = absl::Seconds(3);
// Network sets made at the same time. Each takes the kernel's one lock of all links two hundred times: more of them
// only wait for each other, and the first is ready as late as the last.
constexpr int kMakers = 2;

// Whether the local user list or a range of somebody's subordinate ids holds it. Read by hand: the library's way loads
// libraries named in the host's configuration, which a static program cannot.
bool IsSomebody(uint32_t id) {
  const auto users = ReadSmallFile(AT_FDCWD, "/etc/passwd", 4 << 20);
  for (const absl::string_view line : absl::StrSplit(users.value_or(""), '\n')) {
    const std::vector<absl::string_view> field = absl::StrSplit(line, ':');
    uint32_t user = 0;
    if (field.size() > 2 && absl::SimpleAtoi(field[2], &user) && user == id) return true;
  }
  const auto ranges = ReadSmallFile(AT_FDCWD, "/etc/subuid", 4 << 20);
  for (const absl::string_view line : absl::StrSplit(ranges.value_or(""), '\n')) {
    const std::vector<absl::string_view> field = absl::StrSplit(line, ':');
    uint64_t first = 0, count = 0;
    if (field.size() > 2 && absl::SimpleAtoi(field[1], &first) && absl::SimpleAtoi(field[2], &count) && id >= first &&
        id < first + count) {
      return true;
    }
  }
  return false;
}

}  // namespace

void Launcher::Expect(int slots) {
  expected_.push_back(slots);
  if (expected_.size() > kRemembered) expected_.pop_front();
}

int Launcher::ShimsAhead() const {
  return expected_.empty() ? options_.slots : *std::max_element(expected_.begin(), expected_.end());
}

uint32_t Launcher::NewHostId() {
  if (!root_) return geteuid();
  // A range of its own for each installation, so that two servers of one host do not share an id.
  uint32_t id =
      kFirstHostId + static_cast<uint32_t>(std::stoul(installation_.substr(0, 5), nullptr, 16) % 100000) * 1000;
  while (host_ids_.count(id) > 0 || IsSomebody(id)) ++id;
  host_ids_.insert(id);
  return id;
}

int Launcher::MakersAtWork() const {
  return static_cast<int>(std::count_if(shells_.begin(), shells_.end(),
                                        [](const auto& shell) { return shell->state == Shell::State::kNetworks; }));
}

void Launcher::MakeForRequests() {
  while (!closing_ && !unmade_.empty() && MakersAtWork() < kMakers) {
    const std::string scope = unmade_.front();
    unmade_.pop_front();
    const auto it = requests_.find(scope);
    if (it != requests_.end()) MakeShell(scope, std::max(it->second.slots, options_.slots));
  }
}

void Launcher::MakeShell(const std::string& scope, int slots) {
  auto shell = std::make_unique<Shell>();
  shell->scope = scope;
  shell->plot.slots = std::min(slots, kMaxSlots);
  shell->plot.host_id = NewHostId();
  shell->plot.host_group = root_ ? shell->plot.host_id : getegid();
  auto child = StartNetworkMaker(shell->plot, shell->plot.slots);
  if (!child.ok()) return GiveUp(shell.get(), child.status());
  Shell* const s = shell.get();
  shells_.push_back(std::move(shell));
  helpers_.insert(child->pid);
  s->channel = std::make_unique<Channel>(
      &reactor_, std::move(child->channel), [this, s](Frame frame) { OnNetworkFrame(s, std::move(frame)); },
      [this, s] { OnNetworksDone(s); });
}

void Launcher::OnNetworkFrame(Shell* shell, Frame frame) {
  if (frame.type == kNetworkError) last_error_ = frame.body;
  for (UniqueFd& fd : frame.fds) shell->parts.push_back(std::move(fd));
}

void Launcher::OnNetworksDone(Shell* shell) {
  ReapChildren();
  if (closing_) return Drop(shell);
  reactor_.AddTimer(absl::ZeroDuration(), [this] { MakeForRequests(); });  // Whatever becomes of this one.
  if (shell->parts.size() != static_cast<size_t>(shell->plot.slots) + 2) {
    return Discard(shell, absl::UnavailableError(last_error_.empty() ? "making networks failed" : last_error_));
  }
  Networks& networks = shell->plot.networks;
  networks.user = std::move(shell->parts[0]);
  networks.hub = std::move(shell->parts[1]);
  for (size_t i = 2; i < shell->parts.size(); ++i) networks.slots.push_back(std::move(shell->parts[i]));
  shell->parts.clear();
  last_error_.clear();
  Warm(shell);
}

void Launcher::Warm(Shell* shell) {
  shell->state = Shell::State::kWarming;
  shell->born = shell->warm = false;
  if (shell->group.empty() && !cgroups_.folders.empty()) {
    shell->group = absl::StrCat("e", getpid(), "-", ++groups_made_);
  }
  auto child = StartShell(shell->plot, shell->group,
                          ShellParts{ShimsAhead(), &cgroups_, &plan_, &filter_, lock_.get(), options_.egress_to_host});
  if (!child.ok()) return Discard(shell, child.status());
  helpers_.insert(child->pid);
  shell->channel = std::make_unique<Channel>(
      &reactor_, std::move(child->channel), [this, shell](Frame frame) { OnInitFrame(shell, std::move(frame)); },
      [this, shell] { OnInitClosed(shell); });
}

void Launcher::OnInitFrame(Shell* shell, Frame frame) {
  if (frame.type == InitBorn::kType && frame.fds.size() == 1) {
    InitBorn born;
    if (!Decode(frame.body, born)) return;
    shell->init = static_cast<pid_t>(born.pid);
    shell->pidfd = std::move(frame.fds[0]);
    shell->born = true;
    reactor_.Add(shell->pidfd.get(), EPOLLIN, [this, shell](uint32_t) { OnInitEnded(shell); }).IgnoreError();
    if (closing_) SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
  } else if (frame.type == InitWarm::kType) {
    InitWarm warm;
    if (!Decode(frame.body, warm)) return;
    if (!warm.error.empty()) {
      last_error_ = warm.error;
      return;  // Its end follows.
    }
    shell->warm = true;
  }
  if (!closing_ && shell->state == Shell::State::kWarming && shell->born && shell->warm) OnWarm(shell);
}

void Launcher::OnWarm(Shell* shell) {
  ReapChildren();
  shell->state = Shell::State::kWarm;
  last_error_.clear();
  ScheduleRefill();
  if (PoolSize() > options_.pool) ScheduleTrim();
  if (shell->scope.empty()) shell->scope = TakeWaiting(*shell);
  const auto it = requests_.find(shell->scope);
  if (it == requests_.end()) return;
  const TakeRequest request = it->second;
  requests_.erase(it);
  GiveTo(shell, request, /*warm=*/false);
}

void Launcher::OnInitClosed(Shell* shell) {
  ReapChildren();
  // With an init, its pidfd tells. Without one the short-lived child has failed.
  if (!shell->born) Discard(shell, absl::UnavailableError(last_error_.empty() ? "no init came up" : last_error_));
}

void Launcher::OnInitEnded(Shell* shell) {
  reactor_.Remove(shell->pidfd.get());
  shell->pidfd.Reset();
  shell->channel.reset();
  ReapChildren();
  switch (shell->state) {
    case Shell::State::kEnding:
      if (!shell->scope.empty()) return FinishRelease(shell);
      RemoveGroup(shell->group);  // One that the pool had too many of.
      return Drop(shell);
    case Shell::State::kTaken:
      shell->state = Shell::State::kDead;  // The server asks for its release when it has seen it.
      return;
    default:
      return Discard(shell, absl::UnavailableError(last_error_.empty() ? "an idle init ended" : last_error_));
  }
}

void Launcher::Discard(Shell* shell, const absl::Status& status) {
  last_error_ = std::string(status.message());
  const std::string scope = shell->scope;
  const bool used = shell->plot.used;
  RemoveGroup(shell->group);
  Drop(shell);
  const auto request = requests_.find(scope);
  if (used && request != requests_.end()) {
    unmade_.push_front(scope);
    return MakeForRequests();
  }
  Fail(scope);
}

void Launcher::GiveUp(Shell* shell, const absl::Status& status) {
  last_error_ = std::string(status.message());
  host_ids_.erase(shell->plot.host_id);
  Fail(shell->scope);
}

void Launcher::Fail(const std::string& scope) {
  if (requests_.erase(scope) > 0) Reply(scope, last_error_);
}

void Launcher::Drop(Shell* shell) {
  host_ids_.erase(shell->plot.host_id);
  if (shell->pidfd.valid()) reactor_.Remove(shell->pidfd.get());
  shells_.erase(std::find_if(shells_.begin(), shells_.end(), [shell](const auto& s) { return s.get() == shell; }));
  EndWhenDone();
}

// What a burst has left is given back once nothing was asked for during kTrimAfter: an idle pool has one size.
void Launcher::ScheduleTrim() {
  if (closing_ || trim_timer_ != 0) return;
  const absl::Duration due = last_take_ + kTrimAfter - reactor_.Now();
  trim_timer_ = reactor_.AddTimer(due > absl::ZeroDuration() ? due : kTrimAfter, [this] {
    trim_timer_ = 0;
    if (reactor_.Now() - last_take_ < kTrimAfter || !requests_.empty()) return ScheduleTrim();
    target_ = options_.pool;
    while (!closing_ && !idle_plots_.empty() && PoolSize() > target_) {
      Shell* const shell = idle_plots_.front();
      idle_plots_.pop_front();
      RemoveGroup(shell->group);
      Drop(shell);
    }
    int surplus = closing_ ? 0 : PoolSize() - target_;
    for (const auto& shell : shells_) {
      if (surplus <= 0) break;
      if (shell->state != Shell::State::kWarm || !shell->scope.empty()) continue;
      shell->state = Shell::State::kEnding;
      --surplus;
      SignalPidfd(shell->pidfd.get(), SIGKILL).IgnoreError();
    }
  });
}

size_t Launcher::WarmCount() const {
  return std::count_if(shells_.begin(), shells_.end(), [](const auto& s) { return s->state == Shell::State::kWarm; });
}

int Launcher::ShellCount() const {
  return static_cast<int>(std::count_if(shells_.begin(), shells_.end(), [](const auto& s) {
    return s->scope.empty() && (s->state == Shell::State::kWarm || s->state == Shell::State::kNetworks ||
                                s->state == Shell::State::kWarming);
  }));
}

void Launcher::ScheduleRefill() {
  if (closing_ || refill_timer_ != 0) return;
  const absl::Duration delay = WarmCount() == 0 ? absl::ZeroDuration() : kQuiet;
  refill_timer_ = reactor_.AddTimer(delay, [this] {
    refill_timer_ = 0;
    if (WarmCount() > 0 && reactor_.Now() - last_take_ < kQuiet) return ScheduleRefill();
    Refill();
  });
}

void Launcher::Refill() {
  if (closing_) return;
  while (!idle_plots_.empty() && ShellCount() < target_) {
    Shell* const shell = idle_plots_.front();
    idle_plots_.pop_front();
    Warm(shell);
  }
  // New networks keep the whole kernel busy: what somebody waits for comes first, and the pool's come one by one.
  const bool busy = !requests_.empty() || MakersAtWork() > 0;
  if (!busy && PoolSize() < target_ && last_error_.empty()) MakeShell("", options_.slots);
}

}  // namespace mayfly::local
