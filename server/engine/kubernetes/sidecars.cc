#include "server/engine/kubernetes/sidecars.h"

#include <sys/wait.h>

#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/object_parts.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;

std::string HowItEnded(absl::string_view text) {
  int status = 0;
  long long cpu_us = 0;
  long peak_kib = 0, oom_kills = 0;
  if (sscanf(std::string(text).c_str(), "%d %lld %ld %ld", &status, &cpu_us, &peak_kib, &oom_kills) != 4)
    return "ended";
  if (oom_kills > 0) return "used all of its memory and was ended";
  if (WIFSIGNALED(status)) {
    return absl::StrCat("was ended by signal ", WTERMSIG(status), " (SIG", sigabbrev_np(WTERMSIG(status)), ")");
  }
  return absl::StrCat("exited with code ", WEXITSTATUS(status));
}

std::string WhyNotStarted(absl::string_view text) {
  char stage[16] = "";
  int error = 0;
  if (sscanf(std::string(text).c_str(), "%15s %d", stage, &error) != 2) return "could not be started";
  return absl::StrCat("could not be started: ", strerror(error));
}

}  // namespace

std::string SidecarContainer(absl::string_view name) {
  return absl::StrCat("sidecar-", name);
}

std::string SidecarPod(absl::string_view pod, absl::string_view name) {
  return absl::StrCat(pod, "/", name);
}

json SidecarObject(const Place& place, absl::string_view pod, const Sidecar& sidecar, const PodOptions& options) {
  json env = json::array();
  const auto add = [&env](const std::string& name, const std::string& value) {
    env.push_back({{"name", name}, {"value", absl::StrReplaceAll(value, {{"$(", "$$("}})}});
  };
  if (sidecar.variables.count("HOME") == 0) add("HOME", "/tmp");
  for (const auto& [name, value] : sidecar.variables) add(name, value);
  const auto token = options.sidecar_tokens.find(sidecar.name);
  AddGateVariable(absl::StrCat(options.gate_address, " ", place.scope, "/"), pod, absl::StrCat("/", sidecar.name),
                  token == options.sidecar_tokens.end() ? "none" : token->second, &env);
  json args = json::array();
  for (const std::string& word : sidecar.argv) args.push_back(absl::StrReplaceAll(word, {{"$(", "$$("}}));
  return {{"name", SidecarContainer(sidecar.name)},
          {"image", ImageName(sidecar.image, options.registry)},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", {kGateProgram}},
          {"args", args},
          {"env", env},
          {"volumeMounts", GateMounts()},
          {"securityContext", SecurityContext()}};
}

Sidecars::Sidecars(Reactor& reactor, Callbacks callbacks)
    : reactor_(reactor), callbacks_(std::move(callbacks)), self_(std::make_shared<Sidecars*>(this)) {}

Sidecars::~Sidecars() = default;

void Sidecars::OnGate(const std::string& name, const GateHello& hello, std::unique_ptr<GateLink> link) {
  if (ending_) return link->Send(GATE_KILL, 1, 0, "");
  One& one = all_[name];
  if (one.lines == nullptr) one.lines = std::make_unique<MarkedLines>(name);
  one.link = std::move(link);
  one.runs = hello.state == GateHello::State::kRunning || hello.state == GateHello::State::kReady;
  GateLink::Callbacks callbacks;
  callbacks.on_frame = [this, name](const gate_frame& frame, absl::string_view payload) {
    OnFrame(name, frame, payload);
  };
  callbacks.on_lost = [this, name, lost = one.link.get()] {
    // Never from here: it is the link that calls.
    reactor_.AddTimer(absl::ZeroDuration(), [weak = std::weak_ptr<Sidecars*>(self_), name, lost] {
      const auto self = weak.lock();
      if (self == nullptr || (*self)->all_[name].link.get() != lost) return;
      One& lonely = (*self)->all_[name];
      lonely.link.reset();
      // It was told to end, and nobody is left to say that it has.
      if ((*self)->ending_) (*self)->OnEnd(name, lonely, "ended");
    });
  };
  one.link->SetCallbacks(std::move(callbacks));
  one.link->SendNumber(GATE_WELCOME, one.output_seen);
  if (started_ && hello.state == GateHello::State::kWaiting) one.link->Send(GATE_GO, 0, 0, "");
}

void Sidecars::Start() {
  if (std::exchange(started_, true)) return;
  for (auto& [name, one] : all_) {
    if (one.link != nullptr) one.link->Send(GATE_GO, 0, 0, "");
  }
}

void Sidecars::End() {
  if (std::exchange(ending_, true)) return;
  for (auto& [name, one] : all_) {
    if (one.link != nullptr) {
      one.link->Send(GATE_KILL, 1, 0, "");
    } else {
      one.runs = false;  // The kubelet ends it.
    }
  }
}

bool Sidecars::running() const {
  for (const auto& [name, one] : all_) {
    if (one.runs) return true;
  }
  return false;
}

bool Sidecars::Marked(absl::string_view line) const {
  for (const auto& [name, one] : all_) {
    if (absl::StartsWith(line, MarkedLines::MarkOf(name))) return true;
  }
  return false;
}

void Sidecars::OnFrame(const std::string& name, const gate_frame& frame, absl::string_view payload) {
  One& one = all_[name];
  switch (frame.type) {
    case GATE_OUTPUT:
      return OnOutput(one, payload, frame.flag == 1);
    case GATE_STARTED:
      one.runs = true;
      return;
    case GATE_FAILED:
      return OnEnd(name, one, WhyNotStarted(payload));
    case GATE_EXITED:
      return OnEnd(name, one, HowItEnded(payload));
    default:
      return;
  }
}

void Sidecars::OnOutput(One& one, absl::string_view payload, bool stderr_stream) {
  uint64_t offset = 0;
  if (payload.size() < sizeof offset) return;
  memcpy(&offset, payload.data(), sizeof offset);
  payload.remove_prefix(sizeof offset);
  const uint64_t end = offset + payload.size();
  if (end <= one.output_seen) return;
  one.output_seen = end;
  const std::string lines = one.lines->Feed(payload, stderr_stream);
  if (!lines.empty()) callbacks_.on_output(lines, stderr_stream);
  if (one.link != nullptr) one.link->SendNumber(GATE_ACK, one.output_seen);
}

void Sidecars::OnEnd(const std::string& name, One& one, const std::string& how) {
  one.runs = false;
  for (const bool stderr_stream : {false, true}) {
    const std::string rest = one.lines->Rest(stderr_stream);
    if (!rest.empty()) callbacks_.on_output(rest, stderr_stream);
  }
  if (ending_) {
    if (!running()) callbacks_.on_ended();
    return;
  }
  if (one.link != nullptr) one.link->Send(GATE_RELEASE, 0, 0, "");
  if (!std::exchange(one.told, true)) callbacks_.on_trouble(absl::StrCat("sidecar ", name, " ", how));
}

}  // namespace mayfly::kubernetes
