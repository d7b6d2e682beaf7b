// The gate's bytes, built into the server (CMakeLists.txt).
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROGRAM_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROGRAM_H_

#include <string>

namespace mayfly::kubernetes {

// A static program for this machine's architecture, which must be that of the cluster's machines.
const std::string& GateProgram();

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_GATE_PROGRAM_H_
