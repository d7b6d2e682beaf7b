// Names and objects by which a cluster's ingress controller leads to exposed services. Pure.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_OBJECTS_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_OBJECTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "mayfly/spec/process.h"
#include "server/engine/kubernetes/objects.h"

namespace mayfly::kubernetes {

inline constexpr char kNetworkingApi[] = "/apis/networking.k8s.io/v1";

struct IngressOptions {
  std::string domain;            // "preview.example.com"; empty: exposed ports are on the server's loopback.
  std::string ingress_class;     // Empty: the cluster's default.
  std::string controller_space;  // The kube namespace whose pods may reach exposed ports; empty: none may.
  bool tls = false;              // With the controller's own certificate, which must cover the domain.
};

// INVALID_ARGUMENT, with the flag's name, for what no name can be made of.
absl::Status CheckIngress(const IngressOptions& options);

// Whether an ingress controller can lead to the port: it speaks plain HTTP, by the port's name or its probe.
bool SpeaksHttp(const ProcessSpec& process, int port);

// The first label of an exposed port's host: "SERVICE-ENVIRONMENT" for the service's first port that speaks HTTP. Where
// that could also stand for another pair, is too long or for another port, ten characters of a hash follow. No two
// ports of one installation's environments ever have the same one; the same port has the same one in every generation.
std::string IngressLabel(const ProcessSpec& process, absl::string_view node, int port, absl::string_view environment);

// The Ingress and, where the controller's pods have a namespace, the policy that lets them in. Both are named `label`.
std::vector<Creation> IngressObjects(const Place& place, absl::string_view node, int port, absl::string_view label,
                                     const IngressOptions& options);
std::string IngressesPath(absl::string_view space);

// The service that an Ingress of ours leads to; empty: it is none.
std::string IngressBackend(const nlohmann::json& ingress);

// The first address in the status of an Ingress, IP or host name; empty while the controller has not taken it.
std::string IngressAddress(const nlohmann::json& ingress);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_OBJECTS_H_
