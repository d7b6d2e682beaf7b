#include "server/app/flags.h"

#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "mayfly/base/status.h"
#include "mayfly/base/text.h"

namespace mayfly::app {
namespace {

struct FlagInfo {
  std::string name;
  std::string value;  // What it takes, for help; empty for a switch.
  std::string help;
  std::function<absl::Status(Flags&, const std::string&)> set;
};

FlagInfo Switch(std::string name, std::string help, bool Flags::* field) {
  return {std::move(name), "", std::move(help), [field](Flags& flags, const std::string& value) {
            flags.*field = value != "false";
            return absl::OkStatus();
          }};
}

FlagInfo Text(std::string name, std::string value, std::string help, std::string Flags::* field) {
  return {std::move(name), std::move(value), std::move(help), [field](Flags& flags, const std::string& text) {
            flags.*field = text;
            return absl::OkStatus();
          }};
}

FlagInfo Number(std::string name, std::string help, int Flags::* field) {
  return {std::move(name), "NUMBER", std::move(help), [field](Flags& flags, const std::string& text) {
            if (!absl::SimpleAtoi(text, &(flags.*field)) || flags.*field < 0) {
              return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(text), "' is not a number from 0 on"));
            }
            return absl::OkStatus();
          }};
}

FlagInfo Choice(std::string name, std::vector<std::string> choices, std::string help, std::string Flags::* field) {
  std::string list = absl::StrJoin(choices, "|");
  return {std::move(name), list, std::move(help), [field, list, choices](Flags& flags, const std::string& text) {
            for (const std::string& choice : choices) {
              if (choice == text) {
                flags.*field = text;
                return absl::OkStatus();
              }
            }
            return absl::InvalidArgumentError(absl::StrCat("'", EscapeLine(text), "' is not one of ", list));
          }};
}

const std::vector<FlagInfo>& Table() {
  static const auto* const table = new std::vector<FlagInfo>{
      Text("state-dir", "PATH",
           "records, logs and reports; default $MAYFLY_STATE_DIR, $XDG_STATE_HOME/mayfly or ~/.local/state/mayfly",
           &Flags::state_dir),
      Choice("engine", {"local", "kubernetes"}, "where environments run: on this machine, or in a cluster",
             &Flags::engine),
      Text("kubeconfig", "FILE", "kubernetes: default $KUBECONFIG, ~/.kube/config, or the pod's service account",
           &Flags::kubeconfig),
      Text("kube-context", "NAME", "kubernetes: instead of the kubeconfig's current context", &Flags::kube_context),
      Text("gate-listen", "ADDRESS:PORT",
           "kubernetes: where pods reach this server; default the address towards the API server, any port",
           &Flags::gate_listen),
      Text("kube-namespaces", "NAME,NAME-{1..9}",
           "kubernetes: these, made by an administrator for this server alone, instead of one for each environment",
           &Flags::kube_namespaces),
      {"kube-namespace-wait", "DURATION",
       "kubernetes: how long an environment waits for a free one of them; default 10m",
       [](Flags& flags, const std::string& text) {
         MAYFLY_ASSIGN_OR_RETURN(flags.kube_namespace_wait, ParseDuration(text));
         return absl::OkStatus();
       }},
      Switch("gate-relay",
             "kubernetes: pods cannot reach this server, as on a laptop: a pod in each environment passes on (off)",
             &Flags::gate_relay),
      Text("registry", "HOST/PATH", "kubernetes: put before images that name no registry", &Flags::registry),
      Text("registry-config", "FILE",
           "kubernetes: credentials for registries, a docker config.json with `auths`; read again when it changes",
           &Flags::registry_config),
      {"registry-insecure", "HOST:PORT", "kubernetes: a registry that is spoken to over plain http; may be repeated",
       [](Flags& flags, const std::string& text) {
         flags.registry_insecure.push_back(text);
         return absl::OkStatus();
       }},
      Text("ingress-domain", "DOMAIN",
           "kubernetes: exposed HTTP ports get an Ingress with a host below it instead of a port on loopback",
           &Flags::ingress_domain),
      Text("ingress-class", "NAME", "kubernetes: of these Ingresses; default the cluster's default",
           &Flags::ingress_class),
      Text("ingress-namespace", "NAME", "kubernetes: where the ingress controller's pods are; they are let in",
           &Flags::ingress_namespace),
      Switch("ingress-tls", "kubernetes: https, with the ingress controller's own certificate for the domain (off)",
             &Flags::ingress_tls),
      Text("listen", "ADDRESS:PORT", "serve TCP beside the Unix socket; off loopback only with the three TLS flags",
           &Flags::listen),
      Text("tls-cert", "FILE", "certificate of --listen (PEM)", &Flags::tls_cert),
      Text("tls-key", "FILE", "its key (PEM)", &Flags::tls_key),
      Text("tls-client-ca", "FILE", "clients must show a certificate of this CA; their name is its common name",
           &Flags::tls_client_ca),
      Text("token-file", "FILE", "bearer tokens for --listen, one \"NAME TOKEN\" a line; only you may read the file",
           &Flags::token_file),
      Text("admins", "NAME,NAME", "who may, beside its owner, change every environment and reach into it",
           &Flags::admins),
      {"sources", "DIR", "folder below which callers of --listen may name sources; may be repeated; without it, none",
       [](Flags& flags, const std::string& text) {
         flags.sources.push_back(text);
         return absl::OkStatus();
       }},
      Switch("reflection", "gRPC server reflection (on)", &Flags::reflection),
      {"exit-when-idle", "DURATION", "end after this long without environments and connections",
       [](Flags& flags, const std::string& text) {
         MAYFLY_ASSIGN_OR_RETURN(flags.exit_when_idle, ParseDuration(text));
         return absl::OkStatus();
       }},
      Switch("egress-to-host", "services may name the loopback of this host in their egress (off)",
             &Flags::egress_to_host),
      Number("ready-fd", "write a line to this descriptor once serving, then close it", &Flags::ready_fd),
      Number("max-connections", "further ones wait; 0: from the limit of open files", &Flags::max_connections),
      Switch("sync-full", "every write of the store waits for the disk: survives a loss of power (off)",
             &Flags::sync_full),
      Text("log-file", "FILE", "append the server's own log to it instead of stderr", &Flags::log_file),
      Choice("log-format", {"logfmt", "json"}, "default logfmt", &Flags::log_format),
      Choice("log-level", {"debug", "info", "warning", "error"}, "default info", &Flags::log_level),
      Switch("print-causes", "print the table of failure causes as markdown and end", &Flags::print_causes),
      Switch("version", "print the version and end", &Flags::version),
      Switch("help", "this text", &Flags::help),
  };
  return *table;
}

const FlagInfo* Find(absl::string_view name) {
  for (const FlagInfo& info : Table()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

absl::Status Unknown(absl::string_view name) {
  std::vector<std::string> names;
  for (const FlagInfo& info : Table()) names.push_back(info.name);
  const std::string nearest = Nearest(name, names);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag --", EscapeLine(name),
                   nearest.empty() ? "; see mayflyd --help" : absl::StrCat("; did you mean --", nearest, "?")));
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& args) {
  Flags flags;
  for (size_t i = 0; i < args.size(); ++i) {
    absl::string_view rest = args[i];
    if (!absl::ConsumePrefix(&rest, "--") || rest.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument '", EscapeLine(args[i]),
                                                     "'; mayflyd takes flags only, see mayflyd --help"));
    }
    const size_t equals = rest.find('=');
    const absl::string_view name = rest.substr(0, equals);
    const FlagInfo* info = Find(name);
    std::string value = equals == absl::string_view::npos ? "" : std::string(rest.substr(equals + 1));
    if (info == nullptr) {
      absl::string_view positive = name;
      const FlagInfo* negated = absl::ConsumePrefix(&positive, "no-") ? Find(positive) : nullptr;
      if (negated == nullptr || !negated->value.empty() || equals != absl::string_view::npos) return Unknown(name);
      info = negated;
      value = "false";
    } else if (!info->value.empty() && equals == absl::string_view::npos) {
      if (i + 1 >= args.size())
        return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value: ", info->value));
      value = args[++i];
    }
    MAYFLY_RETURN_IF_ERROR(Annotate(info->set(flags, value), absl::StrCat("--", info->name)));
  }
  return flags;
}

std::string FlagsHelp() {
  std::string out = "mayflyd serves environments on demand to mayfly, over a Unix socket in its state folder.\n\n";
  for (const FlagInfo& info : Table()) {
    const std::string form = info.value.empty() ? info.name : absl::StrCat(info.name, "=", info.value);
    absl::StrAppendFormat(&out, "  --%-36s %s\n", form, info.help);
  }
  return out;
}

}  // namespace mayfly::app
