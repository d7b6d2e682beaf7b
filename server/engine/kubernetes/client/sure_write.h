// Writes whose answer may be lost, and what is found out then before anything is done again.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SURE_WRITE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SURE_WRITE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "server/engine/kubernetes/client/api_client.h"

namespace mayfly::kube {

// As ApiClient::Create and ApiClient::Delete; `body` is `object` as text.
void SureCreate(Requester& requester, absl::string_view collection, const nlohmann::json& object, std::string body,
                ApiClient::Done done);
void SureDelete(Requester& requester, absl::string_view path, DeleteOptions options, ApiClient::Done done);

// The value of a write's "dryRun"; empty where it is to be done.
std::string DryRun(const Requester& requester);

// The body of a DELETE.
std::string DeleteBody(const DeleteOptions& options);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_SURE_WRITE_H_
