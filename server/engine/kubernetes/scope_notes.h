// What a kube namespace says of its environment to people who look at the cluster.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_SCOPE_NOTES_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_SCOPE_NOTES_H_

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "mayfly/engine/engine.h"

namespace mayfly::kubernetes {

// Label (for selectors) and annotation with the environment's name; annotations for its labels begin with the second.
inline constexpr char kEnvironment[] = "mayfly.dev/environment";
inline constexpr char kLabelNote[] = "mayfly.dev/label.";

// Adds them to a Namespace object: owner, environment, expiry (UTC; none for one that never ends) and labels.
void AddScopeNotes(const ScopeSpec& spec, nlohmann::json* object);

// The annotations of an object that are mayfly's.
std::map<std::string, std::string> NotesOf(const nlohmann::json& object);

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_SCOPE_NOTES_H_
