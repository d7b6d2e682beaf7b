// What the command line said. Filled by command_line.cc, read by the verbs.
#ifndef MAYFLY_CLIENT_CLI_OPTIONS_H_
#define MAYFLY_CLIENT_CLI_OPTIONS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mayfly {

enum class Format { kTable, kJson, kYaml, kName, kDot, kEnv, kJunit, kMarkdown };
enum class OnInterrupt { kDefault, kKeep, kDown };

struct Options {
  std::string verb;                  // "up", "server stop".
  std::vector<std::string> words;    // Services, tests, or the environment's name, by verb.
  std::vector<std::string> command;  // Behind "--".

  // Where the spec is and which server is asked.
  std::string path;
  std::string name;
  std::string engine;
  std::string state_dir;
  std::string server;
  std::string token_file;
  std::string tls_ca;
  std::string tls_certificate;
  std::string tls_key;

  // Output.
  Format format = Format::kTable;
  std::string color = "auto";
  bool quiet = false;
  bool verbose = false;

  // What is asked for.
  std::optional<absl::Duration> ttl;
  std::string profile;
  std::vector<std::string> tests;
  std::map<std::string, std::string> variables;
  std::map<std::string, std::string> secrets;
  std::map<std::string, std::string> labels;  // up, run, plan: its own; list: of those to be listed.
  bool keep_on_failure = false;
  std::string replay;  // up: the environment that is made again.
  std::string report_dir;
  std::string junit;
  std::string uid;  // report: of an earlier environment of that name.
  bool no_wait = false;
  std::optional<absl::Duration> timeout;
  bool graceful = false;
  bool wait_gone = false;  // down: until its platform has forgotten it, too.
  OnInterrupt on_interrupt = OnInterrupt::kDefault;
  bool all = false;     // list: also the deleted; down: every environment.
  std::string filter;   // list.
  bool follow = false;  // logs, events.
  bool raw = false;     // logs: bytes as they are.
  int64_t tail = 0;     // logs.
  std::optional<absl::Duration> since;
  bool force = false;        // server stop.
  bool no_terminal = false;  // exec.
};

}  // namespace mayfly

#endif  // MAYFLY_CLIENT_CLI_OPTIONS_H_
