// A server with its sockets, and clients of every kind in front of it.
#ifndef MAYFLY_TESTS_SUPPORT_SERVER_FIXTURE_H_
#define MAYFLY_TESTS_SUPPORT_SERVER_FIXTURE_H_

#include <memory>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "mayfly/base/ids.h"
#include "tests/support/api_fixture.h"

namespace mayfly {

constexpr char kToken[] = "0123456789abcdef0123";

class ServerTest : public ApiTest {
 protected:
  grpc::Status Info(Stub& stub, Call& call) {
    v1::ServerInfo info;
    return stub.GetServerInfo(&call, v1::GetServerInfoRequest(), &info);
  }
  bool Answers() {
    Call call;
    return Info(*NewStub(), call).ok();
  }
  std::shared_ptr<grpc::Channel> TcpChannel(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->tcp_port()), credentials, arguments);
  }
  void ListenOnLoopbackWithToken() {
    options_.listen = api::TcpAddress{"127.0.0.1", 0, true};
    options_.has_tokens = true;
    token_digests_[Sha256Hex(kToken)] = "ci";
  }
};

}  // namespace mayfly

#endif  // MAYFLY_TESTS_SUPPORT_SERVER_FIXTURE_H_
