#include "tests/support/random_process.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mayfly {
namespace {

// Words that are hard to carry through shells, JSON and Kubernetes' own expansion.
const std::vector<std::string>& Words() {
  static const auto& words = *new std::vector<std::string>{"serve",
                                                           "--port=8080",
                                                           "a b",
                                                           "",
                                                           "$(HOME)",
                                                           "$$(X)",
                                                           "${Y}",
                                                           "'\"\\",
                                                           "\xc3\xa4\xe2\x82\xac",
                                                           "-c",
                                                           "x\ny",
                                                           "{\"a\": true}",
                                                           "~/",
                                                           "null",
                                                           "0x1F",
                                                           "sleep 1; :",
                                                           "%s%n",
                                                           "../..",
                                                           "hostPath",
                                                           "privileged: true"};
  return words;
}

class Maker {
 public:
  explicit Maker(std::mt19937& random) : random_(random) {}

  ProcessSpec Make() {
    ProcessSpec process;
    for (int i = Below(5); i >= 0; --i) process.argv.push_back(i == 0 ? "/bin/app" : Word());
    process.image = Pick({"app", "shop/cart:1", "registry.example:5000/a/b:v2", "ghcr.io/x/y"});
    process.image_workdir = Pick({"", "/srv/app", "data", "/"});
    process.user = Pick({"", "1000", "65534", "app", "1"});
    Variables(process);
    for (int i = Below(4); i > 0; --i) {
      process.files.push_back({absl::StrCat(Pick({"/etc/app/", "conf/", ""}), "f", i), Word(), Below(01000)});
    }
    Ports(process);
    Limits(process);
    for (int i = Below(3); i > 0; --i) {
      process.volumes.push_back({absl::StrCat("v", i), absl::StrCat("/var/lib/v", i), Below(2) * (int64_t{i} << 20)});
    }
    for (int i = Below(3); i > 0; --i) {
      process.sidecars.push_back(
          {absl::StrCat("s", i), Pick({"proxy", "x/y:1"}), {"/bin/side", Word()}, {{"A", Word()}}});
    }
    process.probe.kind = static_cast<Probe::Kind>(Below(static_cast<int>(Probe::Kind::kNotify) + 1));
    process.probe.port = process.ports.empty() ? 0 : process.ports[0].number;
    process.probe.path = "/healthz";
    process.probe.command = {Word()};
    process.probe.pattern = Word();
    process.stop.signal = 1 + Below(31);
    return process;
  }

 private:
  int Below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(random_); }
  std::string Pick(const std::vector<std::string>& from) { return from[Below(static_cast<int>(from.size()))]; }
  std::string Word() { return Pick(Words()); }

  void Variables(ProcessSpec& process) {
    for (int i = Below(8); i > 0; --i) {
      const std::string name = absl::StrCat(Pick({"A", "DB_URL", "_x", "HOME"}), i % 3 == 0 ? "" : absl::StrCat(i));
      process.variables[name] = Word();
      if (Below(3) == 0) process.secrets.insert(name);
    }
  }

  void Ports(ProcessSpec& process) {
    std::set<int> numbers;
    for (int i = Below(5); i > 0; --i) numbers.insert(Below(4) == 0 ? 1 + Below(1023) : 1 + Below(65535));
    for (const int number : numbers) {
      const std::string name = Pick({"http", "grpc", "a-name-that-is-longer-than-fifteen", ""});
      process.ports.push_back({name.empty() ? "" : absl::StrCat(name, number), number});
    }
  }

  void Limits(ProcessSpec& process) {
    if (Below(2) == 0) process.resources.memory_bytes = (int64_t{1} + Below(4096)) << 20;
    if (Below(2) == 0) process.resources.cpus = (1 + Below(4000)) / 1000.0;
    if (Below(2) == 0) process.resources.disk_bytes = (int64_t{1} + Below(4096)) << 20;
    if (Below(2) == 0) process.resources.processes = 1 + Below(1000);
  }

  std::mt19937& random_;
};

}  // namespace

ProcessSpec RandomProcess(std::mt19937& random) {
  return Maker(random).Make();
}

}  // namespace mayfly
