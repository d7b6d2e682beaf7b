// A server with a provisioner in memory, in this process, behind a real Unix socket.
#ifndef MAYFLY_TESTS_SUPPORT_API_FIXTURE_H_
#define MAYFLY_TESTS_SUPPORT_API_FIXTURE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "mayfly/v1/environment_service.grpc.pb.h"
#include "server/api/server.h"
#include "server/base/real_loop.h"
#include "tests/support/stub_interactive.h"
#include "tests/support/stub_provisioner.h"
#include "tests/support/temp_dir.h"

namespace mayfly {

// A call that cannot hang a test.
class Call : public grpc::ClientContext {
 public:
  explicit Call(absl::Duration limit = absl::Seconds(30));
};

// Waits, with a generous limit, for what no event tells the test. False when the limit came first.
bool Eventually(const std::function<bool()>& condition, absl::Duration limit = absl::Seconds(30));

class ApiTest : public testing::Test {
 protected:
  using Stub = v1::EnvironmentService::Stub;

  ApiTest();
  ~ApiTest() override;

  // The server listens on the Unix socket; a test changes `options_` before it. ASSERTs by itself.
  void StartServer();
  // A channel of its own, not shared with other stubs.
  std::shared_ptr<grpc::Channel> NewChannel();
  std::unique_ptr<Stub> NewStub() { return v1::EnvironmentService::NewStub(NewChannel()); }

  // Creates it through the API and expects that to work.
  v1::Environment Create(Stub& stub, const std::string& name);
  // Reads until a message that makes `enough` true came, or the stream ended; everything that was read.
  static std::vector<v1::Event> ReadUntil(grpc::ClientReader<v1::WatchEnvironmentResponse>& reader,
                                          const std::function<bool(const v1::Event&)>& enough);

  TempDir dir_;
  StubProvisioner provisioner_;
  StubEngine engine_;
  StubLogs logs_;
  EchoStreams echo_;
  api::ServerOptions options_;
  std::map<std::string, std::string> token_digests_;
  std::set<std::string> admins_;
  std::vector<std::string> sources_ = {"/"};  // mayflyd --sources
  std::atomic<int> stops_{0};
  RealLoop worker_;
  std::unique_ptr<api::ApiServer> server_;
};

v1::CreateEnvironmentRequest CreateRequest(const std::string& name);

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_API_FIXTURE_H_
