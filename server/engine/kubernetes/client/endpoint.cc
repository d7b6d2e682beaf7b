#include "server/engine/kubernetes/client/endpoint.h"

#include <utility>

namespace mayfly::kube {

FixedAuthorizer::FixedAuthorizer(http::Headers headers) : headers_(std::move(headers)) {}

void FixedAuthorizer::Authorize(Done done) {
  done(Credentials{headers_, nullptr});
}

void FixedAuthorizer::Refused(const Credentials&) {}

}  // namespace mayfly::kube
