#include "client/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/key_values.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 ok, 1 internal, 2 usage, 3 spec invalid, 4 environment not ready, 5 tests failed, 6 not found,\n"
    "7 not allowed, 8 server unreachable, 9 conflict or quota, 10 host cannot run the engine, 124 timeout,\n"
    "130 interrupted.";

const std::vector<std::pair<std::string, Format>>& Formats() {
  static const auto& formats = *new std::vector<std::pair<std::string, Format>>{
      {"table", Format::kTable}, {"json", Format::kJson}, {"yaml", Format::kYaml},   {"name", Format::kName},
      {"dot", Format::kDot},     {"env", Format::kEnv},   {"junit", Format::kJunit}, {"markdown", Format::kMarkdown}};
  return formats;
}

void AddDuration(CLI::App* app, const std::string& flag, std::optional<absl::Duration>* target,
                 const std::string& help) {
  app->add_option_function<std::string>(
         flag,
         [target, flag](const std::string& text) {
           const auto duration = ParseDuration(text);
           if (!duration.ok()) throw CLI::ValidationError(flag, std::string(duration.status().message()));
           *target = *duration;
         },
         help)
      ->type_name("DURATION");
}

// CLI11 wants its mistakes thrown, and catches them.
void OrThrow(const std::string& flag, const absl::Status& status) {
  if (!status.ok()) throw CLI::ValidationError(flag, std::string(status.message()));
}

// Builds the grammar, one small function per group of flags.
class Grammar {
 public:
  Grammar() : app_("mayfly: a whole integrated environment of your own, and no trace of it afterwards", "mayfly") {
    app_.require_subcommand(1);
    app_.footer(kFooter);
    app_.set_help_all_flag("");
    app_.option_defaults()->always_capture_default(false);
    Lifecycle();
    Looking();
    Specs();
    Rest();
    app_.add_flag_callback("--version", [this] { options_.verb = "version"; }, "print the version");
  }

  CLI::App& app() { return app_; }

  Options Take() {
    for (CLI::App* verb : app_.get_subcommands()) {
      options_.verb = verb->get_name();
      for (CLI::App* inner : verb->get_subcommands()) absl::StrAppend(&options_.verb, " ", inner->get_name());
    }
    return options_;
  }

 private:
  CLI::App* Verb(const char* name, const char* summary) {
    CLI::App* verb = app_.add_subcommand(name, summary);
    Output(verb);
    return verb;
  }

  // For options with an envname. CLI11 looks the variable up for every verb that was not given as well, and would put
  // it over what the given one said.
  static CLI::Option* FromEnvironment(CLI::App* verb, const char* flag, std::string* value, const char* help) {
    const auto take = [verb, value](const std::string& text) {
      if (verb->parsed() > 0) *value = text;
    };
    return verb->add_option_function<std::string>(flag, take, help);
  }

  void Output(CLI::App* verb) {
    std::vector<std::string> names;
    for (const auto& format : Formats()) names.push_back(format.first);
    verb->add_option_function<std::string>(
            "-o,--output",
            [this](const std::string& text) {
              for (const auto& [name, format] : Formats()) {
                if (name == text) options_.format = format;
              }
            },
            "what standard output holds")
        ->check(CLI::IsMember(names))
        ->type_name("FORMAT");
    verb->add_option("--color", options_.color, "colours: auto, always or never")
        ->check(CLI::IsMember({"auto", "always", "never"}))
        ->type_name("WHEN");
    verb->add_flag("-q,--quiet", options_.quiet, "no progress, only data and errors");
    verb->add_flag("-v,--verbose", options_.verbose, "say more: each answer of the probes, too");
  }

  void Server(CLI::App* verb) {
    FromEnvironment(verb, "--engine", &options_.engine,
                    "where environments run: local, or kubernetes for the cluster of your kubeconfig")
        ->envname("MAYFLY_ENGINE")
        ->type_name("ENGINE");
    FromEnvironment(verb, "--state-dir", &options_.state_dir, "folder of the per-user server's state")
        ->envname("MAYFLY_STATE_DIR")
        ->type_name("FOLDER");
    FromEnvironment(verb, "--server", &options_.server,
                    "a running server: host:port or unix:/path; default: one of your own")
        ->envname("MAYFLY_SERVER")
        ->type_name("ADDRESS");
    FromEnvironment(verb, "--token-file", &options_.token_file, "file with the bearer token for --server")
        ->envname("MAYFLY_TOKEN_FILE")
        ->type_name("FILE");
    FromEnvironment(verb, "--tls-ca", &options_.tls_ca, "PEM file of who signed the server's certificate")
        ->envname("MAYFLY_TLS_CA")
        ->type_name("FILE");
    verb->add_option("--tls-cert", options_.tls_certificate, "PEM file of your certificate")->type_name("FILE");
    verb->add_option("--tls-key", options_.tls_key, "PEM file of its key")->type_name("FILE");
  }

  void Spec(CLI::App* verb, const char* flags = "-f,--file") {
    verb->add_option(flags, options_.path, "a folder, envspec.yml or service.yml; default: the nearest upwards")
        ->type_name("PATH");
  }

  void Target(CLI::App* verb, const char* flags = "-f,--file") {
    Spec(verb, flags);
    FromEnvironment(verb, "--name", &options_.name, "name of the environment")
        ->envname("MAYFLY_NAME")
        ->type_name("NAME");
    Server(verb);
  }

  void Words(CLI::App* verb, const char* what, const char* help) {
    verb->add_option(what, options_.words, help)->type_name("");
  }

  void Request(CLI::App* verb) {
    AddDuration(verb, "--ttl", &options_.ttl, "how long it lives, such as 2h");
    verb->add_option("--profile", options_.profile, "one of the envspec's profiles")->type_name("PROFILE");
    verb->add_option_function<std::vector<std::string>>(
            "--set",
            [this](const std::vector<std::string>& pairs) {
              for (const std::string& pair : pairs) OrThrow("--set", InsertPair(pair, options_.variables));
            },
            "a variable, over the specs'; may be repeated")
        ->allow_extra_args(false)
        ->type_name("KEY=VALUE");
    verb->add_option_function<std::string>(
            "--env-file",
            [this](const std::string& path) { OrThrow("--env-file", InsertFile(path, options_.variables)); },
            "file of KEY=VALUE lines; --set wins")
        ->type_name("FILE")
        ->trigger_on_parse();
    verb->add_option_function<std::vector<std::string>>(
            "--secret",
            [this](const std::vector<std::string>& secrets) {
              for (const std::string& secret : secrets) OrThrow("--secret", InsertSecret(secret, options_.secrets));
            },
            "a secret; without a value it is taken from the variable of that name")
        ->allow_extra_args(false)
        ->type_name("KEY[=VALUE]");
    Labels(verb, "what it is for; may be repeated. CI gives pr, commit and branch by itself");
  }

  void Labels(CLI::App* verb, const char* help) {
    verb->add_option_function<std::vector<std::string>>(
            "--label",
            [this](const std::vector<std::string>& pairs) {
              for (const std::string& pair : pairs) OrThrow("--label", InsertPair(pair, options_.labels));
            },
            help)
        ->allow_extra_args(false)
        ->type_name("KEY=VALUE");
  }

  void Waiting(CLI::App* verb) {
    verb->add_flag("--no-wait", options_.no_wait, "return once it is accepted");
    AddDuration(verb, "--timeout", &options_.timeout, "wait at most this long, then exit with 124");
    verb->add_option_function<std::string>(
            "--on-interrupt",
            [this](const std::string& text) {
              options_.on_interrupt = text == "keep" ? OnInterrupt::kKeep : OnInterrupt::kDown;
            },
            "what Ctrl-C and SIGTERM leave behind: keep or down")
        ->check(CLI::IsMember({"keep", "down"}))
        ->type_name("WHAT");
  }

  void Replay(CLI::App* verb) {
    verb->add_option("--replay", options_.replay, "make NAME, which may be deleted, again as it was")
        ->type_name("NAME");
    // As excluded options of CLI11 they would all say so in the help.
    verb->parse_complete_callback([this] {
      if (options_.replay.empty()) return;
      const bool more =
          !options_.path.empty() || !options_.words.empty() || !options_.profile.empty() || !options_.variables.empty();
      if (more) {
        throw CLI::ValidationError("--replay", "makes what was there: no -f, services, --profile, --set or --env-file");
      }
    });
  }

  void Reports(CLI::App* verb) {
    verb->add_option("--report-dir", options_.report_dir, "folder for the reports and what the test jobs left")
        ->type_name("FOLDER");
    verb->add_option("--junit", options_.junit, "file for all results as JUnit XML")->type_name("FILE");
  }

  void Lifecycle() {
    CLI::App* up = Verb("up", "make the environment, or bring it up to date, and wait until it is usable");
    Words(up, "SERVICE", "only these and what they need");
    Target(up);
    Request(up);
    Replay(up);
    Waiting(up);
    CLI::App* run = Verb("run", "up, test, report, down: the verdict is the exit code");
    Words(run, "SERVICE", "only these, what they need and the tests that cover them");
    Target(run);
    Request(run);
    run->add_option("--test", options_.tests, "only this test job; may be repeated")
        ->allow_extra_args(false)
        ->type_name("TEST");
    run->add_flag("--keep-on-failure", options_.keep_on_failure, "leave the environment for a look unless it passed");
    Reports(run);
    Waiting(run);
    CLI::App* test = Verb("test", "run test jobs in an environment that is up");
    Words(test, "TEST", "only these test jobs");
    Target(test);
    Reports(test);
    Waiting(test);
    CLI::App* down = Verb("down", "remove the environment and everything in it");
    Words(down, "NAME", "environments; default: that of the nearest spec");
    Target(down);
    down->add_flag("--graceful", options_.graceful, "stop services in order, with their signals, before removing");
    down->add_flag("--all", options_.all, "every environment");
    down->add_flag("--no-wait", options_.no_wait, "return once it is accepted");
    down->add_option_function<std::string>(
            "--wait", [this](const std::string& text) { options_.wait_gone = text == "gone"; },
            "until everything has ended (released, the default), or until the cluster has forgotten it, too (gone)")
        ->check(CLI::IsMember({"released", "gone"}))
        ->type_name("FOR");
    AddDuration(down, "--timeout", &options_.timeout, "wait at most this long, then exit with 124");
    CLI::App* extend = Verb("extend", "give an environment more time to live");
    Words(extend, "NAME", "the environment; default: that of the nearest spec");
    Target(extend);
    AddDuration(extend, "--ttl", &options_.ttl, "how long from now, such as 2h; default: an hour more than it has");
    CLI::App* restart = Verb("restart", "restart services in place, in order");
    Words(restart, "SERVICE", "the services");
    Target(restart);
    Waiting(restart);
  }

  void Looking() {
    CLI::App* get = Verb("get", "show one environment: nodes, URLs, cause");
    Words(get, "NAME", "the environment; default: that of the nearest spec");
    Target(get);
    CLI::App* list = Verb("list", "list environments");
    list->add_option("--filter", options_.filter, "such as state=ACTIVE AND name=shop*")->type_name("FILTER");
    Labels(list, "only those with this label; may be repeated");
    list->add_flag("--all", options_.all, "the deleted ones, too");
    Server(list);
    CLI::App* logs = Verb("logs", "print what services wrote");
    Words(logs, "SERVICE", "only these");
    Target(logs, "--file");
    logs->add_flag("-f,--follow", options_.follow, "go on as more comes");
    logs->add_option("--tail", options_.tail, "only the last N lines of each")
        ->type_name("N")
        ->check([](const std::string& text) {
          int64_t lines = 0;
          return absl::SimpleAtoi(text, &lines) && lines >= 0 ? std::string()
                                                              : std::string("a number of lines, please");
        });
    AddDuration(logs, "--since", &options_.since, "only what is younger, such as 5m");
    logs->add_flag("--raw", options_.raw, "bytes as they were written, control characters included");
    CLI::App* events = Verb("events", "print what happened, a line each");
    Words(events, "NAME", "the environment; default: that of the nearest spec");
    Target(events);
    events->add_flag("--follow", options_.follow, "go on as more happens");
    AddDuration(events, "--timeout", &options_.timeout, "with --follow: at most this long");
    CLI::App* watch = Verb("watch", "follow an environment until it is gone");
    Words(watch, "NAME", "the environment; default: that of the nearest spec");
    Target(watch);
    AddDuration(watch, "--timeout", &options_.timeout, "at most this long, then exit with 124");
    CLI::App* report = Verb("report", "print the report of an environment, also after it is gone");
    Words(report, "NAME", "the environment; default: that of the nearest spec");
    Target(report);
    report->add_option("--uid", options_.uid, "of an earlier environment of that name: `mayfly list --all -o json`")
        ->type_name("UID");
    Reports(report);
    CLI::App* exec = Verb("exec", "run a command beside a service: mayfly exec SERVICE -- COMMAND...");
    Words(exec, "SERVICE", "the service, then the command");
    exec->add_flag("-T,--no-terminal", options_.no_terminal, "plain pipes, also on a terminal");
    Target(exec);
    CLI::App* forward =
        Verb("port-forward", "a port of a service on this machine: mayfly port-forward SERVICE LOCAL:REMOTE");
    Words(forward, "SERVICE LOCAL:REMOTE", "the service and the ports; LOCAL 0: any free one");
    Target(forward);
  }

  void Specs() {
    CLI::App* plan = Verb("plan", "print what would happen, and why");
    Words(plan, "SERVICE", "only these and what they need");
    Target(plan);
    Request(plan);
    plan->add_option("--test", options_.tests, "only this test job; may be repeated")
        ->allow_extra_args(false)
        ->type_name("TEST");
    CLI::App* lint = Verb("lint", "check the specs without a server");
    Spec(lint);
    CLI::App* schema = Verb("schema", "print the JSON Schema of service.yml or envspec.yml, for editors");
    Words(schema, "FILE", "service (the default) or envspec");
    CLI::App* explain = Verb("explain", "print a service as merged, with the origin of every value");
    Words(explain, "SERVICE", "the service");
    Spec(explain);
    CLI::App* init = Verb("init", "write a first service.yml from what is in a folder");
    Words(init, "FOLDER", "the folder; default: this one");
  }

  void Rest() {
    Server(Verb("doctor", "what this host can and cannot do, and how to mend it"));
    CLI::App* server = app_.add_subcommand("server", "the server that mayfly started for you");
    server->require_subcommand(1);
    CLI::App* status = server->add_subcommand("status", "whether it runs");
    CLI::App* stop = server->add_subcommand("stop", "stop it; environments live on");
    for (CLI::App* verb : {status, stop}) {
      Output(verb);
      Server(verb);
    }
    stop->add_flag("--force", options_.force, "also while it drives environments");
    Verb("version", "print the version");
    CLI::App* completion = Verb("completion", "print shell completion: bash, zsh or fish");
    Words(completion, "SHELL", "bash, zsh or fish");
  }

  Options options_;
  CLI::App app_;
};

CommandTree::Flag Describe(const CLI::Option& option, const std::string& spelling) {
  CommandTree::Flag flag;
  flag.name = spelling;
  flag.summary = option.get_description();
  flag.takes_value = option.get_items_expected_max() > 0;
  const std::string type = option.get_type_name();
  flag.takes_path = type == "PATH" || type == "FILE" || type == "FOLDER";
  // IsMember shows its choices behind the type's name: "FORMAT:{table,json}".
  const size_t open = type.find('{'), close = type.rfind('}');
  if (open != std::string::npos && close != std::string::npos) {
    flag.choices = absl::StrSplit(type.substr(open + 1, close - open - 1), ',');
  }
  return flag;
}

CommandTree Describe(const CLI::App& app) {
  CommandTree words;
  words.name = app.get_name();
  words.summary = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words.flags.push_back(Describe(*option, "--" + name));
    for (const std::string& name : option->get_snames()) words.flags.push_back(Describe(*option, "-" + name));
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.commands.push_back(Describe(*command));
  }
  return words;
}

// CLI11's sentence, and the nearest verb where a word is none.
std::string Complaint(Grammar& grammar, const CLI::ParseError& error, const std::vector<std::string>& args) {
  std::string text = absl::StrCat("error: ", EscapeLine(error.what()));
  if (args.empty()) return absl::StrCat(text, "\n", grammar.app().help());
  std::vector<std::string> verbs;
  for (const CLI::App* verb : grammar.app().get_subcommands([](const CLI::App*) { return true; })) {
    verbs.push_back(verb->get_name());
  }
  if (!absl::StartsWith(args[0], "-") && std::find(verbs.begin(), verbs.end(), args[0]) == verbs.end()) {
    const std::string near = Nearest(args[0], verbs);
    text = absl::StrCat("error: there is no verb '", EscapeLine(args[0]), "'");
    if (!near.empty()) absl::StrAppend(&text, ": did you mean '", near, "'?");
  }
  return absl::StrCat(text, "\n`mayfly --help` lists the verbs, `mayfly VERB --help` what each takes\n");
}

}  // namespace

std::variant<Options, Answer> ParseCommandLine(const std::vector<std::string>& args) {
  Grammar grammar;
  // What stands behind "--" is somebody else's command line.
  const auto dashes = std::find(args.begin(), args.end(), "--");
  std::vector<std::string> own(args.begin(), dashes);
  if (own.size() == 1 && own[0] == "--version") own = {"version"};
  // CLI11 takes the words from the back.
  std::vector<std::string> reversed(own.rbegin(), own.rend());
  try {
    grammar.app().parse(reversed);
    Options options = grammar.Take();
    if (dashes != args.end()) options.command.assign(dashes + 1, args.end());
    return options;
  } catch (const CLI::CallForHelp&) {
    const CLI::App* app = &grammar.app();
    std::string path;
    while (!app->get_subcommands().empty()) {
      absl::StrAppend(&path, path.empty() ? "" : " ", app->get_name());
      app = app->get_subcommands().front();
    }
    return Answer{0, app->help(path, CLI::AppFormatMode::Normal)};
  } catch (const CLI::ParseError& error) {
    return Answer{2, Complaint(grammar, error, own)};
  }
}

CommandTree DescribeCommandLine() {
  Grammar grammar;
  CommandTree words = Describe(grammar.app());
  words.name = "";
  return words;
}

}  // namespace mayfly
