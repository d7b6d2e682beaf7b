// A first service.yml for a folder, guessed from what lies in it.
#ifndef MAYFLY_CLIENT_CLI_FIRST_SERVICE_H_
#define MAYFLY_CLIENT_CLI_FIRST_SERVICE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace mayfly {

struct FirstService {
  std::string name;
  std::string type = "http";  // "worker" when nothing tells of a port.
  std::string run;            // One line; empty when nothing was found that could be run.
  int port = 0;               // 0: the type's.
  std::string origin;         // What it was guessed from: "package.json (scripts.start)".
  std::string before;         // What has to be built first: "go build -o shop ."; may be empty.
};

// Looks at Procfile, Dockerfile, package.json, pyproject.toml, requirements.txt, go.mod, Cargo.toml, pom.xml, Makefile
// and single executables, in this order of trust. NOT_FOUND when `folder` is no folder. Runs nothing.
absl::StatusOr<FirstService> GuessService(const std::string& folder);

// The file's text.
std::string RenderFirstService(const FirstService& service);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_FIRST_SERVICE_H_
