// What may let traffic over the border of an environment, for admission.cc.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_TRAFFIC_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_TRAFFIC_H_

#include "server/engine/kubernetes/admission_shape.h"

namespace mayfly::kubernetes {

// An IPv4 address that can be another machine's or a pod's: a machine's own and a cloud's metadata addresses would be
// served under the environment's name, or be reached from inside.
shape::Shape PodAddress();

// A pod's hostAliases: names for addresses of its own loopback where its gate listens, and of nothing else.
shape::Shape WaysOutOfPod();

// The spec of a network policy: of one node's pods, which lets one kube namespace reach ports of theirs, or lets them
// reach ports of single addresses, and nothing else; or whatever `of_all` takes.
shape::Shape OfNodeOr(shape::Shape of_all);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_ADMISSION_TRAFFIC_H_
