// Shell completion from the grammar of the command line.
#ifndef MAYFLY_CLIENT_CLI_COMPLETION_H_
#define MAYFLY_CLIENT_CLI_COMPLETION_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/cli/command_line.h"

namespace mayfly {

// The script for "bash", "zsh" or "fish"; "" for another shell. The words are fixed: it runs nothing and asks nobody.
std::string RenderCompletion(const CommandTree& root, absl::string_view shell);

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_COMPLETION_H_
