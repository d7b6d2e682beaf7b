#include "tests/conformance/engine_conformance.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "mayfly/base/status.h"

namespace mayfly {
namespace {

constexpr int kVirtualTurns = 60000;  // A minute of virtual time.
constexpr auto kPatience = std::chrono::seconds(30);

std::string WorkloadBinary() {
  const char* dir = getenv("MAYFLY_BIN_DIR");
  return absl::StrCat(dir != nullptr ? dir : "build/dev/bin", "/mayfly-workload");
}

}  // namespace

void RecordingSink::OnEngineEvent(const EngineEvent& event) {
  MutexLock lock(mutex_);
  events_.push_back(event);
  more_.NotifyAll();
}

std::vector<EngineEvent> RecordingSink::events() const {
  MutexLock lock(mutex_);
  return events_;
}

void RecordingSink::WaitForMore(std::chrono::milliseconds at_most) {
  MutexLock lock(mutex_);
  more_.WaitUntil(mutex_, std::chrono::steady_clock::now() + at_most);
}

absl::StatusOr<std::string> DialTcp(const std::string& address, const std::string& line) {
  const size_t colon = address.rfind(':');
  sockaddr_in to{};
  to.sin_family = AF_INET;
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("no address: ", address));
  }
  to.sin_port = htons(port);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit = {10, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  absl::StatusOr<std::string> answer = std::string();
  char buffer[256];
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0 ||
      write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    answer = ErrnoStatus(errno, absl::StrCat("connect ", address));
  } else if (const ssize_t n = read(fd, buffer, sizeof(buffer)); n >= 0) {
    answer = std::string(buffer, n);
  } else {
    answer = ErrnoStatus(errno, "read");
  }
  close(fd);
  return answer;
}

void EngineConformanceTest::SetUp() {
  // Readable for whatever user runs inside.
  std::string pattern = "/tmp/mayfly-conformance-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  chmod(pattern.c_str(), 0755);
  folder_ = pattern + "/source";
  log_dir_ = pattern + "/logs";
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ + "/plain.txt") << "no program\n";
  std::error_code missing;
  std::filesystem::copy_file(WorkloadBinary(), folder_ + "/mayfly-workload", missing);
  if (missing) std::ofstream(folder_ + "/mayfly-workload") << "only the fake engine can run this\n";
  chmod((folder_ + "/mayfly-workload").c_str(), 0755);
  under_test_ = GetParam().make(&sink_);
  if (under_test_ == nullptr) GTEST_SKIP() << GetParam().name << " cannot run on this host";
}

void EngineConformanceTest::TearDown() {
  if (under_test_ != nullptr) {
    for (const std::string& scope : scopes_) {
      const int released = Count({scope, ""}, Kind::kScopeReleased);
      if (engine().Destroy(scope).ok()) Await({scope, ""}, Kind::kScopeReleased, released + 1);
    }
  }
  under_test_.reset();
  std::filesystem::remove_all(std::filesystem::path(folder_).parent_path());
}

ScopeSpec EngineConformanceTest::Spec(const std::string& id) const {
  return {id, "conf", "tester", log_dir_, folder_, 3};
}

NodeRef EngineConformanceTest::MakeScope() {
  static int number = 0;
  const std::string id = absl::StrCat("conf-", getpid(), "-", ++number);
  EXPECT_OK(engine().CreateScope(Spec(id)));
  scopes_.push_back(id);
  Await({id, ""}, Kind::kScopeReady);
  return {id, ""};
}

ProcessSpec EngineConformanceTest::Workload(std::vector<std::string> steps) const {
  ProcessSpec process;
  process.argv = std::move(steps);
  process.argv.insert(process.argv.begin(), folder_ + "/mayfly-workload");
  process.workdir = process.source_root = folder_;
  process.stop.grace = absl::Seconds(5);
  return process;
}

ProcessSpec EngineConformanceTest::Listening(const std::string& step, int port, Probe::Kind probe) const {
  ProcessSpec process = Workload({step, absl::StrCat(port)});
  process.ports = {Port{"main", port}};
  process.probe.kind = probe;
  process.probe.port = port;
  process.probe.path = "/";
  return process;
}

NodeRef EngineConformanceTest::Launch(const std::string& node, const ProcessSpec& process, bool one_shot, int attempt) {
  if (scopes_.empty()) MakeScope();
  const NodeRef ref = {scopes_.back(), node, attempt};
  EXPECT_OK(engine().Prepare(ref, process));
  Await(ref, Kind::kPrepared);
  EXPECT_OK(engine().Start(ref, one_shot));
  return ref;
}

std::vector<EngineEvent> EngineConformanceTest::EventsOf(const NodeRef& ref) const {
  std::vector<EngineEvent> out;
  for (const EngineEvent& event : sink_.events()) {
    const bool same = event.node.scope == ref.scope && event.node.node == ref.node;
    if (same && (ref.node.empty() || event.node.attempt == ref.attempt)) out.push_back(event);
  }
  return out;
}

int EngineConformanceTest::Count(const NodeRef& ref, Kind kind) const {
  int count = 0;
  for (const EngineEvent& event : EventsOf(ref)) count += event.kind == kind;
  return count;
}

std::string EngineConformanceTest::Told(const NodeRef& ref) const {
  std::string out;
  for (const EngineEvent& event : EventsOf(ref)) {
    absl::StrAppend(&out, static_cast<int>(event.kind), " ", FormatCause(event.cause), event.message, "; ");
  }
  return out;
}

EngineEvent EngineConformanceTest::Await(const NodeRef& ref, Kind kind, int count) {
  EXPECT_TRUE(WaitUntil([&] { return Count(ref, kind) >= count; }))
      << "event " << static_cast<int>(kind) << " of '" << ref.node << "' in " << ref.scope
      << " did not come; what came: " << Told(ref);
  EngineEvent last;
  for (const EngineEvent& event : EventsOf(ref)) {
    if (event.kind == kind) last = event;
  }
  return last;
}

bool EngineConformanceTest::WaitUntil(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  for (int turns = 0; turns < kVirtualTurns; ++turns) {
    if (condition()) return true;
    if (under_test_->Turn()) continue;
    turns = 0;
    sink_.WaitForMore(std::chrono::milliseconds(5));
    if (std::chrono::steady_clock::now() > end) return false;
  }
  return false;
}

std::vector<std::string> EngineConformanceTest::Lines(const std::string& node) {
  std::vector<std::string> lines;
  for (int64_t offset = 0;;) {
    const absl::StatusOr<LogSource::Chunk> chunk = under_test_->logs()->ReadLog(log_dir_, node, offset, 1 << 16);
    if (!chunk.ok()) return lines;
    for (const LogLine& line : chunk->lines) lines.push_back((line.stderr_stream ? "err " : "out ") + line.text);
    if (chunk->end) return lines;
    offset = chunk->next_offset;
  }
}

}  // namespace mayfly
