// The command line's grammar: the only place that knows CLI11.
#ifndef MAYFLY_CLIENT_CLI_COMMAND_LINE_H_
#define MAYFLY_CLIENT_CLI_COMMAND_LINE_H_

#include <string>
#include <variant>
#include <vector>

#include "client/cli/options.h"

namespace mayfly {

// The command line is to be answered at once: help (0, to standard output) or a mistake (2, to standard error).
struct Answer {
  int exit_code = 0;
  std::string text;
};

// `args` without the program's name.
std::variant<Options, Answer> ParseCommandLine(const std::vector<std::string>& args);

// One command as completion sees it. The root has no name.
struct CommandTree {
  std::string name;
  std::string summary;
  struct Flag {
    std::string name;  // "--output"; one entry per spelling.
    std::string summary;
    bool takes_value = false;
    bool takes_path = false;
    std::vector<std::string> choices;  // Empty: free.
  };
  std::vector<Flag> flags;
  std::vector<CommandTree> commands;
};

// The same grammar as a tree.
CommandTree DescribeCommandLine();

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_COMMAND_LINE_H_
