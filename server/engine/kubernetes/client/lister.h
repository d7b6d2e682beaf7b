// Reading a whole collection in chunks.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LISTER_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LISTER_H_

#include <string>

#include "server/engine/kubernetes/client/api_client.h"

namespace mayfly::kube {

struct ListCall {
  std::string collection;
  std::string label_selector;
  std::string field_selector;
};

// As ApiClient::List, through `requester`. Objects get the kind and apiVersion that lists leave out of their items.
void ListAll(Requester& requester, ListCall call, ApiClient::Done done);

}  // namespace mayfly::kube

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_CLIENT_LISTER_H_
