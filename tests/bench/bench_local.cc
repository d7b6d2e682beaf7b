// Drives environments through gRPC and measures them from outside. bench.py makes the catalogues, starts the server and
// turns the samples printed here (one JSON object) into figures.
//
//   bench_local cycle   SOCKET CATALOGUE MARK NODES COUNT STATE_DIR [graceful] [paused]
//   bench_local churn   SOCKET CATALOGUE COUNT CONCURRENCY SERVER_PID
//   bench_local chain   SOCKET CATALOGUE MARK NODES COUNT
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "mayfly/v1/environment_service.grpc.pb.h"
#include "tests/bench/process_watch.h"

namespace mayfly::bench {
namespace {

using v1::Environment;
constexpr int64_t kLimitNs = 60'000'000'000;

// Samples by name, printed as JSON.
using Samples = std::map<std::string, std::vector<double>>;

void Print(const Samples& samples) {
  std::string text = "{";
  for (const auto& [name, values] : samples) {
    text += (text.size() > 1 ? ", \"" : "\"") + name + "\": [";
    for (size_t i = 0; i < values.size(); ++i) {
      char number[32];
      snprintf(number, sizeof number, "%s%.4f", i ? ", " : "", values[i]);
      text += number;
    }
    text += "]";
  }
  printf("%s}\n", text.c_str());
}

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "bench_local: %s\n", what.c_str());
  exit(1);
}

void Check(const grpc::Status& status, const char* what) {
  if (!status.ok()) Die(std::string(what) + ": " + status.error_message());
}

class Client {
 public:
  explicit Client(const std::string& socket)
      : stub_(v1::EnvironmentService::NewStub(
            grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))) {
    v1::ServerInfo info;
    grpc::ClientContext context;
    context.set_wait_for_ready(true);
    Check(stub_->GetServerInfo(&context, {}, &info), "GetServerInfo");
  }

  std::string Create(const std::string& source, const std::string& name) {
    v1::CreateEnvironmentRequest request;
    request.set_source(source);
    request.set_environment_id(name);
    Environment environment;
    grpc::ClientContext context;
    Check(stub_->CreateEnvironment(&context, request, &environment), "CreateEnvironment");
    return environment.name();
  }

  void Delete(const std::string& name, bool graceful = false) {
    v1::DeleteEnvironmentRequest request;
    request.set_name(name);
    request.set_graceful(graceful);
    Environment environment;
    grpc::ClientContext context;
    Check(stub_->DeleteEnvironment(&context, request, &environment), "DeleteEnvironment");
  }

  // Calls `on` for every event until it returns false or the stream ends.
  void Watch(const std::string& name, const std::function<bool(const v1::Event&)>& on) {
    v1::WatchEnvironmentRequest request;
    request.set_name(name);
    grpc::ClientContext context;
    auto reader = stub_->WatchEnvironment(&context, request);
    for (v1::WatchEnvironmentResponse response; reader->Read(&response);) {
      for (const v1::Event& event : response.events()) {
        if (!on(event)) {
          context.TryCancel();
          return;
        }
      }
    }
    reader->Finish();
  }

  void AwaitState(const std::string& name, Environment::State wanted) {
    bool reached = false;
    Watch(name, [&](const v1::Event& event) {
      if (event.kind() == v1::Event::STATE && event.environment_state() == Environment::FAILED &&
          wanted != Environment::DELETED) {
        Die(name + " failed: " + event.cause().node() + ": " + event.cause().code() + ": " + event.cause().message());
      }
      reached = reached || (event.kind() == v1::Event::STATE && event.environment_state() == wanted);
      return !reached;
    });
    if (!reached) Die(name + " never became " + Environment::State_Name(wanted));
  }

  std::string Logs(const std::string& name) {
    v1::StreamLogsRequest request;
    request.set_name(name);
    grpc::ClientContext context;
    auto reader = stub_->StreamLogs(&context, request);
    std::string text;
    for (v1::StreamLogsResponse response; reader->Read(&response);) {
      for (const v1::LogLine& line : response.lines()) text += line.node() + " " + line.text() + "\n";
    }
    Check(reader->Finish(), "StreamLogs");
    return text;
  }

 private:
  std::unique_ptr<v1::EnvironmentService::Stub> stub_;
};

double Ms(int64_t ns) {
  return ns / 1e6;
}

// After which a pool is full again, and nothing works in the background.
constexpr auto kPause = std::chrono::milliseconds(400);

// Create, every service probed from outside, delete, everything gone.
void Cycle(const std::string& socket, const std::string& source, const std::string& mark, size_t nodes, int count,
           const std::string& state_dir, const std::set<std::string>& words) {
  const bool graceful = words.count("graceful") > 0, paused = words.count("paused") > 0;
  Client client(socket);
  Samples samples;
  for (int i = 0; i < count; ++i) {
    if (paused) std::this_thread::sleep_for(kPause);
    const auto folders = Holdings::Folders(state_dir);
    ProcessWatch watch(mark);
    std::thread prober([&] { watch.Await(nodes, 8080, kLimitNs); });
    const int64_t begin = NowNs();
    const std::string name = client.Create(source, "bench-" + std::to_string(i));
    samples["accepted_ms"].push_back(Ms(NowNs() - begin));
    client.AwaitState(name, Environment::ACTIVE);
    samples["told_ms"].push_back(Ms(NowNs() - begin));
    prober.join();
    int64_t ready = 0;
    std::vector<int> pids;
    for (const auto& [service, seen] : watch.seen()) {
      if (seen.ready_ns == 0) Die(service + " was never reached by the prober");
      ready = std::max(ready, seen.ready_ns);
      pids.push_back(seen.pid);
    }
    if (watch.seen().size() != nodes) Die("saw " + std::to_string(watch.seen().size()) + " services only");
    samples["ready_ms"].push_back(Ms(ready - begin));

    Holdings holdings(pids, state_dir, folders);
    samples["processes"].push_back(holdings.processes());
    int64_t released = 0;
    const int64_t deleted = NowNs();
    std::thread witness([&] { released = holdings.AwaitReleased(20'000'000'000); });
    client.Delete(name, graceful);
    client.AwaitState(name, Environment::DELETED);
    samples["told_released_ms"].push_back(Ms(NowNs() - deleted));
    witness.join();
    if (released == 0) Die("not released:" + holdings.Left());
    samples["released_ms"].push_back(Ms(released - deleted));
  }
  Print(samples);
}

double ResidentMib(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/status");
  for (std::string word; file >> word;) {
    if (word == "VmRSS:") {
      double kib = 0;
      file >> kib;
      return kib / 1024;
    }
  }
  return -1;
}

// Whole life cycles, several at a time.
void Churn(const std::string& socket, const std::string& source, int count, int concurrency, int server) {
  Client client(socket);
  Samples samples;
  std::mutex mutex;
  std::atomic<int> next{0};
  const int64_t begin = NowNs();
  auto work = [&] {
    for (int i; (i = next++) < count;) {
      const int64_t start = NowNs();
      const std::string name = client.Create(source, "churn-" + std::to_string(i));
      client.AwaitState(name, Environment::ACTIVE);
      const int64_t ready = NowNs();
      client.Delete(name);
      client.AwaitState(name, Environment::DELETED);
      const std::lock_guard<std::mutex> lock(mutex);
      samples["ready_ms"].push_back(Ms(ready - start));
      samples["cycle_ms"].push_back(Ms(NowNs() - start));
      samples["end_s"].push_back((NowNs() - begin) / 1e9);
      if (samples["end_s"].size() % 50 == 0) samples["server_mib"].push_back(ResidentMib(server));
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < concurrency; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  Print(samples);
}

// A chain of services, each of which prints CLOCK_MONOTONIC at the moment it becomes usable ("stamp 123"); the kernel
// says when the next one is executed.
void Chain(const std::string& socket, const std::string& source, const std::string& mark, size_t nodes, int count) {
  Client client(socket);
  Samples samples;
  for (int i = 0; i < count; ++i) {
    ProcessWatch watch(mark);
    std::thread witness([&] { watch.Await(nodes, 0, kLimitNs); });
    const std::string name = client.Create(source, "chain-" + std::to_string(i));
    client.AwaitState(name, Environment::ACTIVE);
    witness.join();
    std::map<std::string, int64_t> usable;
    std::istringstream lines(client.Logs(name));
    for (std::string node, word, line; lines >> node >> word;) {
      if (word == "stamp") lines >> usable[node];
      std::getline(lines, line);
    }
    for (size_t at = 1; at < nodes; ++at) {
      const std::string parent = "c" + std::to_string(at - 1), child = "c" + std::to_string(at);
      const auto seen = watch.seen().find(child);
      if (usable[parent] == 0 || seen == watch.seen().end()) Die("no stamp of " + parent + " or no start of " + child);
      samples["handover_ms"].push_back(Ms(seen->second.exec_ns - usable[parent]));
    }
    client.Delete(name);
    client.AwaitState(name, Environment::DELETED);
  }
  Print(samples);
}

}  // namespace
}  // namespace mayfly::bench

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::string verb = words.empty() ? "" : words[0];
  auto number = [&](size_t at) { return atoi(words[at].c_str()); };
  if (verb == "cycle" && words.size() >= 7) {
    mayfly::bench::Cycle(words[1], words[2], words[3], number(4), number(5), words[6],
                         {words.begin() + 7, words.end()});
  } else if (verb == "churn" && words.size() == 6) {
    mayfly::bench::Churn(words[1], words[2], number(3), number(4), number(5));
  } else if (verb == "chain" && words.size() == 6) {
    mayfly::bench::Chain(words[1], words[2], words[3], number(4), number(5));
  } else {
    fprintf(stderr, "usage: see the first lines of bench_local.cc\n");
    return 2;
  }
}
