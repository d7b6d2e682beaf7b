#include "tests/support/local_world.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/engine/local/sys.h"
#include "server/engine/parts/log_reader.h"

namespace mayfly {

LocalWorld::LocalWorld(bool egress_to_host)
    : egress_to_host_(egress_to_host), path_(std::filesystem::canonical(folder_.path())) {
  std::filesystem::create_directories(source());
  const char* bin = std::getenv("MAYFLY_BIN_DIR");
  std::filesystem::copy_file(absl::StrCat(bin == nullptr ? "build/dev/bin" : bin, "/mayfly-workload"), workload());
  StartEngine();
  const absl::Status created = engine_->CreateScope({scope_, "test", "tester", folder() + "/logs", source(), 6});
  EXPECT_TRUE(created.ok()) << created;
  const EngineEvent event = Await("", {EngineEvent::Kind::kScopeReady, EngineEvent::Kind::kScopeFailed});
  EXPECT_EQ(event.kind, EngineEvent::Kind::kScopeReady) << FormatCause(event.cause);
}

LocalWorld::~LocalWorld() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    events_.clear();
  }
  engine_->Destroy(scope_).IgnoreError();
  Await("", EngineEvent::Kind::kScopeReleased);
  engine_.reset();
  if (host_listener_ >= 0) close(host_listener_);
  EXPECT_EQ(Processes(), 0);
}

void LocalWorld::StartEngine() {
  local::LauncherOptions options;
  options.state_dir = folder() + "/state";
  options.pool = 0;
  options.slots = 8;
  options.egress_to_host = egress_to_host_;
  auto launcher = local::ForkLauncher(options);
  ASSERT_TRUE(launcher.ok()) << launcher.status();
  engine_ = local::LocalEngine::Create({options.state_dir}, *std::move(launcher), this);
}

void LocalWorld::Restart() {
  engine_.reset();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    events_.clear();
  }
  StartEngine();
}

void LocalWorld::OnEngineEvent(const EngineEvent& event) {
  std::lock_guard<std::mutex> lock(mutex_);
  events_.push_back(event);
  changed_.notify_all();
}

EngineEvent LocalWorld::Await(const std::string& node, std::vector<EngineEvent::Kind> kinds) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (;;) {
    for (auto it = events_.begin(); it != events_.end(); ++it) {
      if (it->node.node != node || std::find(kinds.begin(), kinds.end(), it->kind) == kinds.end()) continue;
      const EngineEvent event = *it;
      events_.erase(it);
      return event;
    }
    if (changed_.wait_until(lock, limit) == std::cv_status::timeout) {
      ADD_FAILURE() << "nothing came of '" << node << "'";
      return EngineEvent();
    }
  }
}

void LocalWorld::Prepare(const std::string& node, ProcessSpec process, int attempt) {
  if (process.source_root.empty()) process.source_root = source();
  const absl::Status status = engine_->Prepare({scope_, node, attempt}, process);
  EXPECT_TRUE(status.ok()) << status;
}

EngineEvent LocalWorld::RunJob(const std::string& node, const ProcessSpec& process, int attempt) {
  Prepare(node, process, attempt);
  const absl::Status status = engine_->Start({scope_, node, attempt}, true);
  EXPECT_TRUE(status.ok()) << status;
  return Await(node, {EngineEvent::Kind::kExited, EngineEvent::Kind::kStartFailed});
}

EngineEvent LocalWorld::StartService(const std::string& node, const ProcessSpec& process, int attempt) {
  Prepare(node, process, attempt);
  const absl::Status status = engine_->Start({scope_, node, attempt}, false);
  EXPECT_TRUE(status.ok()) << status;
  const EngineEvent event = Await(node, {EngineEvent::Kind::kStarted, EngineEvent::Kind::kStartFailed});
  EXPECT_EQ(event.kind, EngineEvent::Kind::kStarted) << FormatCause(event.cause);
  return event;
}

std::string LocalWorld::Output(const std::string& node) {
  LogReader reader;
  const auto chunk = reader.ReadLog(folder() + "/logs", node, 0, 1 << 20);
  if (!chunk.ok()) return chunk.status().ToString();
  std::string text;
  for (const LogLine& line : chunk->lines) absl::StrAppend(&text, line.text, "\n");
  return text;
}

std::string LocalWorld::WriteSource(const std::string& name, const std::string& text, int mode) {
  const std::filesystem::path path = source() + "/" + name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
  chmod(path.c_str(), static_cast<mode_t>(mode));
  return path.parent_path();
}

std::string LocalWorld::ReadSource(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(source() + "/" + name).rdbuf();
  return text.str();
}

int LocalWorld::Processes() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto command = local::ReadSmallFile(AT_FDCWD, entry.path().string() + "/cmdline");
    count += command.ok() && absl::StrContains(*command, workload());
  }
  return count;
}

int LocalWorld::ListenOnHost() {
  host_listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(host_listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(host_listener_, 4), 0);
  getsockname(host_listener_, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool LocalWorld::AcceptedOnHost() {
  const int fd = accept4(host_listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

}  // namespace mayfly
