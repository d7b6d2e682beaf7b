#include "client/cli/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace mayfly {
namespace {

// "server stop" and its like: every command with the words that lead to it.
struct Command {
  std::string path;  // "" for the root.
  const CommandTree* words;
};

void Collect(const CommandTree& words, const std::string& path, std::vector<Command>& out) {
  out.push_back({path, &words});
  for (const CommandTree& command : words.commands) {
    Collect(command, path.empty() ? command.name : absl::StrCat(path, " ", command.name), out);
  }
}

std::vector<Command> AllCommands(const CommandTree& root) {
  std::vector<Command> commands;
  Collect(root, "", commands);
  return commands;
}

std::string SingleQuoted(absl::string_view text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

std::vector<std::string> NextWords(const CommandTree& words) {
  std::vector<std::string> next;
  for (const CommandTree& command : words.commands) next.push_back(command.name);
  for (const CommandTree::Flag& flag : words.flags) next.push_back(flag.name);
  if (words.name == "completion") next.insert(next.end(), {"bash", "zsh", "fish"});
  return next;
}

std::string Bash(const CommandTree& root) {
  std::string words_cases, value_cases;
  for (const Command& command : AllCommands(root)) {
    absl::StrAppend(&words_cases, "    ", SingleQuoted(command.path),
                    ") words=", SingleQuoted(absl::StrJoin(NextWords(*command.words), " ")), " ;;\n");
    for (const CommandTree::Flag& flag : command.words->flags) {
      if (!flag.takes_value) continue;
      const std::string reply = !flag.choices.empty()
                                    ? absl::StrCat("COMPREPLY=($(compgen -W ",
                                                   SingleQuoted(absl::StrJoin(flag.choices, " ")), " -- \"$cur\"))")
                                : flag.takes_path ? "COMPREPLY=($(compgen -f -- \"$cur\"))"
                                                  : "COMPREPLY=()";
      absl::StrAppend(&value_cases, "    ", SingleQuoted(absl::StrCat(command.path, "|", flag.name)), ") ", reply,
                      "; return ;;\n");
    }
  }
  std::vector<std::string> paths;
  for (const Command& command : AllCommands(root)) {
    if (!command.path.empty()) paths.push_back(SingleQuoted(command.path));
  }
  return absl::StrCat(
      "# bash completion for mayfly: source <(mayfly completion bash)\n"
      "# shellcheck shell=bash disable=SC2207\n"
      "_mayfly() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" path='' word words=''\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    case \"${path:+$path }$word\" in\n      ",
      absl::StrJoin(paths, "|"), ") path=\"${path:+$path }$word\" ;;\n", "    esac\n  done\n",
      "  case \"$path|$prev\" in\n", value_cases, "  esac\n  case \"$path\" in\n", words_cases,
      "  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      "  if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\n"
      "complete -F _mayfly mayfly\n");
}

std::string ZshText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"'", "'\\''"}, {":", "\\:"}, {"[", "\\["}, {"]", "\\]"}});
}

std::string Zsh(const CommandTree& root) {
  std::string cases;
  for (const Command& command : AllCommands(root)) {
    absl::StrAppend(&cases, "    ", SingleQuoted(command.path), ")\n");
    std::vector<std::string> commands;
    for (const CommandTree& next : command.words->commands) {
      commands.push_back(absl::StrCat("'", next.name, ":", ZshText(next.summary), "'"));
    }
    if (!commands.empty()) {
      absl::StrAppend(&cases, "      local -a commands=(", absl::StrJoin(commands, " "),
                      ")\n      _describe -t commands command commands\n");
    }
    absl::StrAppend(&cases, "      _arguments -S");
    for (const CommandTree::Flag& flag : command.words->flags) {
      // With "=", both forms of giving a value are completed.
      const bool equals = flag.takes_value && flag.name.rfind("--", 0) == 0;
      absl::StrAppend(&cases, " \\\n        '", flag.name, equals ? "=" : "", "[", ZshText(flag.summary), "]");
      if (!flag.choices.empty()) {
        absl::StrAppend(&cases, ":value:(", absl::StrJoin(flag.choices, " "), ")");
      } else if (flag.takes_value) {
        absl::StrAppend(&cases, flag.takes_path ? ":path:_files" : ":value:");
      }
      cases += "'";
    }
    // Without a place for words, _arguments offers no flags behind one either.
    const bool shells = command.words->name == "completion";
    if (commands.empty()) {
      absl::StrAppend(&cases, " \\\n        ", shells ? "'1:shell:(bash zsh fish)'" : "'*:word:_files'");
    }
    absl::StrAppend(&cases, "\n      ;;\n");
  }
  std::vector<std::string> paths;
  for (const Command& command : AllCommands(root)) {
    if (!command.path.empty()) paths.push_back(SingleQuoted(command.path));
  }
  return absl::StrCat(
      "#compdef mayfly\n# zsh completion for mayfly: mayfly completion zsh > \"${fpath[1]}/_mayfly\"\n"
      "_mayfly() {\n  local word_path='' i depth=0\n  for ((i = 2; i < CURRENT; i++)); do\n"
      "    case \"${word_path:+$word_path }${words[i]}\" in\n      (",
      absl::StrJoin(paths, "|"), ") word_path=\"${word_path:+$word_path }${words[i]}\" depth=$((i - 1)) ;;\n",
      "    esac\n  done\n"
      "  # The verb takes the place of the command, as _arguments expects it.\n"
      "  shift $depth words\n  (( CURRENT -= depth ))\n  case \"$word_path\" in\n",
      cases, "  esac\n}\ncompdef _mayfly mayfly\n");
}

std::string Fish(const CommandTree& root) {
  std::string out = "# fish completion for mayfly: mayfly completion fish | source\ncomplete -c mayfly -f\n";
  for (const Command& command : AllCommands(root)) {
    std::string condition = "__fish_use_subcommand";
    if (!command.path.empty()) {
      condition = absl::StrCat("__fish_seen_subcommand_from ",
                               absl::StrReplaceAll(command.path, {{" ", "; and __fish_seen_subcommand_from "}}));
    }
    // Behind one of its own commands it has nothing more to say.
    for (const CommandTree& next : command.words->commands) {
      if (!command.path.empty()) absl::StrAppend(&condition, "; and not __fish_seen_subcommand_from ", next.name);
    }
    const std::string start = absl::StrCat("complete -c mayfly -n ", SingleQuoted(condition));
    for (const CommandTree& next : command.words->commands) {
      absl::StrAppend(&out, start, " -a ", next.name, " -d ", SingleQuoted(next.summary), "\n");
    }
    for (const CommandTree::Flag& flag : command.words->flags) {
      const bool is_long = flag.name.rfind("--", 0) == 0;
      absl::StrAppend(&out, start, is_long ? " -l " : " -s ", flag.name.substr(is_long ? 2 : 1));
      if (flag.takes_value) absl::StrAppend(&out, flag.takes_path ? " -r -F" : " -x");
      if (!flag.choices.empty()) absl::StrAppend(&out, " -a ", SingleQuoted(absl::StrJoin(flag.choices, " ")));
      absl::StrAppend(&out, " -d ", SingleQuoted(flag.summary), "\n");
    }
    if (command.words->name == "completion") absl::StrAppend(&out, start, " -a 'bash zsh fish'\n");
  }
  return out;
}

}  // namespace

std::string RenderCompletion(const CommandTree& root, absl::string_view shell) {
  if (shell == "bash") return Bash(root);
  if (shell == "zsh") return Zsh(root);
  if (shell == "fish") return Fish(root);
  return "";
}

}  // namespace mayfly
