// The Prober alone, in a network namespace of its own with 21 service addresses: how late it sees that a service
// listens, at various ages and kinds, and what 21 pending probes cost. Prints a table; with --json FILE the samples,
// too.
//
//   bench_probe [--json FILE] [--rounds N]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "server/engine/parts/probe.h"
#include "tests/support/network.h"

namespace mayfly::local {
namespace {

constexpr int kServices = 21;

double Seconds(clockid_t clock) {
  timespec now = {};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void SleepUntil(double monotonic) {
  const timespec until = {static_cast<time_t>(monotonic),
                          static_cast<long>((monotonic - static_cast<double>(static_cast<time_t>(monotonic))) * 1e9)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr);
}

std::string Address(int i) {
  return absl::StrCat("127.0.1.", i + 1);
}

struct Row {
  std::string measure, unit;
  std::vector<double> samples;
  double goal;
};

// 21 services that begin to listen at random ages between `from` and `to` seconds; each is watched by a Prober. `http`:
// the service answers from a thread of its own. Returns the delays in ms.
std::vector<double> Detect(Probe::Kind kind, bool diagnostics, double from, double to, int rounds) {
  std::vector<double> delays;
  std::mt19937 random(1);
  for (int round = 0; round < rounds; ++round) {
    Reactor reactor;
    ProbeBudget budget;
    auto diag = SockDiag::Open();
    std::vector<std::pair<double, int>> plan;  // Age, service.
    std::vector<std::unique_ptr<Listener>> listeners;
    std::vector<std::atomic<double>> listened(kServices);
    std::vector<std::unique_ptr<Prober>> probers;
    int pending = kServices;
    for (int i = 0; i < kServices; ++i) {
      plan.emplace_back(std::uniform_real_distribution<double>(from, to)(random), i);
      listeners.push_back(Listener::Bound(Address(i), 8080));
      ProberOptions options;
      options.probe = {.kind = kind, .port = 8080, .path = "/"};
      options.address = Address(i);
      options.diag = diagnostics ? &*diag : nullptr;
      options.budget = &budget;
      probers.push_back(
          std::make_unique<Prober>(reactor, options,
                                   Prober::Callbacks{[&, i] {
                                                       delays.push_back((Seconds(CLOCK_MONOTONIC) - listened[i]) * 1e3);
                                                       if (--pending == 0) reactor.Stop();
                                                     },
                                                     {}}));
    }
    std::sort(plan.begin(), plan.end());
    const double start = Seconds(CLOCK_MONOTONIC);
    for (const auto& prober : probers) prober->Start();
    std::thread services([&] {
      for (const auto& [age, i] : plan) {
        SleepUntil(start + age);
        listened[i] = Seconds(CLOCK_MONOTONIC);
        listeners[i]->Listen();
        if (kind != Probe::Kind::kHttp) continue;
        // One answer is what it takes; the connection waits in the queue meanwhile.
        pollfd waiting = {.fd = listeners[i]->fd(), .events = POLLIN};
        if (poll(&waiting, 1, 5000) != 1) continue;
        const int fd = listeners[i]->Accept();
        char buffer[4096];
        const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if (recv(fd, buffer, sizeof buffer, 0) > 0) send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
        close(fd);
      }
    });
    reactor.Run();
    services.join();
  }
  return delays;
}

// Share of a core in per cent that 21 probes cost, whose services never get ready, second by second.
std::vector<double> Cost(Probe::Kind kind, bool diagnostics, int seconds) {
  Reactor reactor;
  ProbeBudget budget;
  auto diag = SockDiag::Open();
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::unique_ptr<Prober>> probers;
  std::vector<double> shares;
  for (int i = 0; i < kServices; ++i) {
    listeners.push_back(Listener::Bound(Address(i), 8080));
    ProberOptions options;
    options.probe = {.kind = kind, .port = 8080, .path = "/"};
    options.address = Address(i);
    options.diag = diagnostics ? &*diag : nullptr;
    options.budget = &budget;
    probers.push_back(std::make_unique<Prober>(reactor, options, Prober::Callbacks{}));
    probers.back()->Start();
  }
  double last = Seconds(CLOCK_THREAD_CPUTIME_ID);
  std::function<void()> every_second = [&] {
    const double now = Seconds(CLOCK_THREAD_CPUTIME_ID);
    shares.push_back((now - last) * 100);
    last = now;
    if (static_cast<int>(shares.size()) == seconds) return reactor.Stop();
    reactor.AddTimer(absl::Seconds(1), every_second);
  };
  reactor.AddTimer(absl::Seconds(1), every_second);
  reactor.Run();
  return shares;
}

double Quantile(std::vector<double> samples, double share) {
  std::sort(samples.begin(), samples.end());
  return samples[std::min(samples.size() - 1, static_cast<size_t>(share * static_cast<double>(samples.size())))];
}

void Show(const std::vector<Row>& rows) {
  printf("%-58s %5s %5s %8s %8s %8s %8s %6s\n", "measure", "unit", "n", "median", "p95", "p99", "max", "goal");
  for (const Row& row : rows) {
    printf("%-58s %5s %5zu %8.3f %8.3f %8.3f %8.3f %6.1f\n", row.measure.c_str(), row.unit.c_str(), row.samples.size(),
           Quantile(row.samples, 0.5), Quantile(row.samples, 0.95), Quantile(row.samples, 0.99),
           Quantile(row.samples, 1), row.goal);
  }
}

std::string Json(const std::vector<Row>& rows) {
  const std::string body = absl::StrJoin(rows, ",\n", [](std::string* out, const Row& row) {
    absl::StrAppendFormat(
        out,
        "  {\"measure\": \"%s\", \"unit\": \"%s\", \"n\": %d, \"min\": %.4f, \"median\": %.4f, \"p95\": %.4f, "
        "\"p99\": %.4f, \"goal\": %.2f, \"ok\": %s, \"samples\": [%s]}",
        row.measure, row.unit, row.samples.size(), Quantile(row.samples, 0), Quantile(row.samples, 0.5),
        Quantile(row.samples, 0.95), Quantile(row.samples, 0.99), row.goal,
        (row.unit == "%" ? Quantile(row.samples, 0.5) : Quantile(row.samples, 0.99)) <= row.goal ? "true" : "false",
        absl::StrJoin(row.samples, ", "));
  });
  return absl::StrCat("{\"bench\": \"probe\", \"rows\": [\n", body, "\n]}\n");
}

int Main(int argc, char** argv) {
  std::string json;
  int rounds = 20;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--json") == 0) json = argv[i + 1];
    if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[i + 1]);
  }
  std::vector<Row> rows;
  for (const bool diagnostics : {true, false}) {
    const std::string how = diagnostics ? " (lookup)" : " (connect)";
    const auto detect = [&](const char* name, Probe::Kind kind, double from, double to, int n) {
      rows.push_back({absl::StrCat("listens -> ready, ", name, how), "ms", Detect(kind, diagnostics, from, to, n), 3});
    };
    detect("tcp, age 10-100 ms", Probe::Kind::kTcp, 0.01, 0.1, rounds);
    detect("tcp, age 0.1-1 s", Probe::Kind::kTcp, 0.1, 1, std::max(1, rounds / 4));
    detect("tcp, age 4-6 s", Probe::Kind::kTcp, 4, 6, std::max(1, rounds / 10));
    detect("http, age 0.1-1 s", Probe::Kind::kHttp, 0.1, 1, std::max(1, rounds / 4));
    rows.push_back(
        {absl::StrCat("21 pending probes, of a core", how), "%", Cost(Probe::Kind::kTcp, diagnostics, 10), 3});
  }
  Show(rows);
  fflush(stdout);  // The child leaves without.
  if (!json.empty()) std::ofstream(json) << Json(rows);
  return 0;
}

}  // namespace
}  // namespace mayfly::local

int main(int argc, char** argv) {
  const std::string result = mayfly::InNewNetwork([&] { return mayfly::local::Main(argc, argv) == 0 ? "" : "failed"; });
  if (!result.empty()) fprintf(stderr, "bench_probe: %s\n", result.c_str());
  return result.empty() ? 0 : 1;
}
