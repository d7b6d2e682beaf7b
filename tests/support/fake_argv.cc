// The steps of mayfly-workload, as far as they matter to orchestration.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "re2/re2.h"
#include "tests/support/fake_world.h"

namespace mayfly {
namespace {

class Steps {
 public:
  Steps(const ProcessSpec& process, bool one_shot) : process_(process), one_shot_(one_shot) {
    run_.ready = process.probe.kind == Probe::Kind::kNone ? absl::ZeroDuration() : absl::InfiniteDuration();
  }

  FakeRun Do() {
    for (at_ = 1; at_ < process_.argv.size() && run_.end == absl::InfiniteDuration();) Step();
    if (process_.probe.kind == Probe::Kind::kCommand) ProbeByCommand();
    if (run_.ready == absl::InfiniteDuration() && !one_shot_) ExplainProbe();
    return std::move(run_);
  }

 private:
  std::string Word() { return at_ < process_.argv.size() ? process_.argv[at_++] : ""; }
  int Number() {
    int value = 0;
    return absl::SimpleAtoi(Word(), &value) ? value : 0;
  }

  void End(int exit_code, int signal = 0) {
    run_.end = now_;
    run_.exit_code = exit_code;
    run_.signal = signal;
  }
  void ReadyNow() { run_.ready = std::min(run_.ready, now_); }

  void Say(std::string text, bool is_error) {
    if (process_.probe.kind == Probe::Kind::kLog && RE2::PartialMatch(text, process_.probe.pattern)) ReadyNow();
    run_.lines.push_back({now_, LogLine{absl::Time(), std::move(text), is_error}});
  }

  void Listen(const std::string& step) {
    const int port = Number();  // "PORT@ADDR" counts as not listening for others.
    if (port == 0) return;
    run_.ports.emplace(port, now_);
    if (port != process_.probe.port) return;
    if (process_.probe.kind == Probe::Kind::kTcp) ReadyNow();
    if (process_.probe.kind != Probe::Kind::kHttp || step != "http") return;
    http_ = true;
    if (status_ < 400) ReadyNow();
  }

  void Step() {
    const std::string step = Word();
    if (step == "sleep" || step == "spin")
      now_ += absl::Milliseconds(Number());
    else if (step == "tcp" || step == "http" || step == "hang")
      Listen(step);
    else if (step == "status")
      Status(Number());
    else if (step == "exit")
      End(Number());
    else if (step == "crash")
      End(0, SIGSEGV);
    else if (step == "abort")
      End(0, SIGABRT);
    else if (step == "ignore-term")
      run_.ignores_term = true;
    else if (step == "say" || step == "err")
      Say(Word(), step == "err");
    else if (step == "notify")
      Notify(Word());
    else if (step == "tick")
      Tick();
    else if (step == "env")
      Env(Word());
    else if (step == "write")
      Write();
    else if (step == "eat")
      Eat(Number());
    else if (step == "escapes" || step == "id" || step == "hide" || step == "try")
      return;
    else if (step == "connect" || step == "connect-unix" || step == "read" || step == "print" || step == "forkbomb" ||
             step == "fill" || step == "accept")
      Word();
    else
      End(2);
  }

  void Status(int code) {
    status_ = code;
    if (http_ && code < 400 && process_.probe.kind == Probe::Kind::kHttp) ReadyNow();
  }
  void Notify(const std::string& text) {
    if (process_.probe.kind == Probe::Kind::kNotify && absl::StrContains(text, "READY=1")) ReadyNow();
  }
  void Tick() {
    const int count = Number();
    const int ms = Number();
    for (int i = 1; i <= count; ++i) {
      Say(absl::StrCat("tick ", i), false);
      now_ += absl::Milliseconds(ms);
    }
  }
  void Env(const std::string& name) {
    const auto found = process_.variables.find(name);
    Say(absl::StrCat("env ", name, "=", found == process_.variables.end() ? "(unset)" : found->second), false);
  }
  void Write() {
    const std::string file = Word();
    run_.files[file] = Word();
    Say(absl::StrCat("write ", file, ": ok"), false);
  }
  void Eat(int mib) {
    const int64_t limit = process_.resources.memory_bytes;
    if (limit == 0 || int64_t{mib} << 20 < limit) return;
    End(0, SIGKILL);
    run_.end_cause = {CauseCode::kOutOfMemory, "", absl::StrCat("used ", limit >> 20, " MiB of ", limit >> 20, " MiB")};
  }

  // A probe's command is another run of the workload that ends at once.
  void ProbeByCommand() {
    ProcessSpec inner;
    inner.argv = process_.probe.command;
    const FakeRun answer = RunOfArgv(inner, true);
    if (answer.start_failure.empty() && answer.end != absl::InfiniteDuration() && answer.exit_code == 0) {
      run_.ready = answer.end;
    }
  }

  void ExplainProbe() {
    const int port = process_.probe.port;
    const bool listens = run_.ports.count(port) > 0;
    if (listens) {
      run_.probe_cause = {CauseCode::kProbeFailing, "", absl::StrCat("answered ", status_)};
    } else if (port != 0 && !run_.ports.empty()) {
      run_.probe_cause = {CauseCode::kWrongPort, "",
                          absl::StrCat("listens on ", run_.ports.begin()->first, ", not on ", port)};
    } else if (port != 0) {
      run_.probe_cause = {CauseCode::kNeverListened, "", absl::StrCat("nothing listens on port ", port)};
    }
  }

  const ProcessSpec& process_;
  const bool one_shot_;
  FakeRun run_;
  size_t at_ = 1;
  absl::Duration now_;
  int status_ = 200;
  bool http_ = false;
};

}  // namespace

FakeRun RunOfArgv(const ProcessSpec& process, bool one_shot) {
  const std::string& program = process.argv[0];
  if (absl::EndsWith(program, "mayfly-workload")) return Steps(process, one_shot).Do();
  FakeRun run;
  if (!absl::StrContains(program, "/")) return run;
  if (access(program.c_str(), F_OK) != 0) {
    run.start_failure = {CauseCode::kCommandNotFound, "", absl::StrCat("no such file: ", program)};
  } else if (access(program.c_str(), X_OK) != 0) {
    run.start_failure = {CauseCode::kNotExecutable, "", absl::StrCat(program, " is not executable")};
  }
  return run;
}

}  // namespace mayfly
