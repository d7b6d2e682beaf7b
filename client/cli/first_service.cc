#include "client/cli/first_service.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/spec_path.h"
#include "client/lib/files.h"
#include "mayfly/base/text.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

class Guesser {
 public:
  explicit Guesser(fs::path folder) : folder_(std::move(folder)) {}

  FirstService Guess() {
    service_.name = PeekName((folder_ / "service.yml").string());
    const bool found =
        Procfile() || PackageJson() || Python() || Go() || Cargo() || Maven() || Makefile() || Executable();
    Dockerfile(found);
    return service_;
  }

 private:
  std::string Read(const char* name) const {
    auto text = ReadFile((folder_ / name).string(), 1 << 20);
    return text.ok() ? *std::move(text) : "";
  }
  bool Has(const char* name) const {
    std::error_code error;
    return fs::is_regular_file(folder_ / name, error);
  }
  bool Set(std::string run, std::string origin, std::string before = "") {
    service_.run = std::move(run);
    service_.origin = std::move(origin);
    service_.before = std::move(before);
    return true;
  }

  bool Procfile() {
    std::string other;
    for (absl::string_view line : absl::StrSplit(Read("Procfile"), '\n')) {
      const size_t colon = line.find(':');
      if (colon == absl::string_view::npos || line.front() == '#') continue;
      const absl::string_view kind = absl::StripAsciiWhitespace(line.substr(0, colon));
      const std::string command(absl::StripAsciiWhitespace(line.substr(colon + 1)));
      if (kind == "web") return Set(command, "Procfile (web)");
      if (other.empty()) other = command;
    }
    if (other.empty()) return false;
    service_.type = "worker";
    return Set(other, "Procfile");
  }

  bool PackageJson() {
    const nlohmann::json package = nlohmann::json::parse(Read("package.json"), nullptr, false);
    if (!package.is_object()) return false;
    const auto scripts = package.find("scripts");
    if (scripts != package.end() && scripts->is_object() && scripts->contains("start")) {
      return Set("npm start", "package.json (scripts.start)", "npm ci");
    }
    const auto main = package.find("main");
    if (main != package.end() && main->is_string()) {
      return Set(absl::StrCat("node ", main->get<std::string>()), "package.json (main)", "npm ci");
    }
    return Has("index.js") ? Set("node index.js", "index.js", "npm ci") : false;
  }

  bool Python() {
    const std::string needs = absl::AsciiStrToLower(Read("requirements.txt") + Read("pyproject.toml"));
    if (!Has("requirements.txt") && !Has("pyproject.toml") && !Has("app.py") && !Has("main.py")) return false;
    const std::string before = Has("requirements.txt") ? "pip install -r requirements.txt" : "";
    const std::string module = Has("app.py") ? "app" : "main";
    if (Has("manage.py")) return Set("python3 manage.py runserver 0.0.0.0:8080", "manage.py", before);
    if (absl::StrContains(needs, "uvicorn") || absl::StrContains(needs, "fastapi")) {
      return Set(absl::StrCat("python3 -m uvicorn ", module, ":app --host 0.0.0.0 --port 8080"),
                 "its Python packages (uvicorn)", before);
    }
    if (absl::StrContains(needs, "gunicorn")) {
      return Set(absl::StrCat("python3 -m gunicorn -b 0.0.0.0:8080 ", module, ":app"), "its Python packages (gunicorn)",
                 before);
    }
    if (absl::StrContains(needs, "flask")) {
      return Set(absl::StrCat("python3 -m flask --app ", module, " run --host 0.0.0.0 --port 8080"),
                 "its Python packages (flask)", before);
    }
    for (const char* script : {"app.py", "main.py", "server.py"}) {
      if (Has(script)) return Set(absl::StrCat("python3 ", script), script, before);
    }
    return false;
  }

  bool Go() {
    for (absl::string_view line : absl::StrSplit(Read("go.mod"), '\n')) {
      if (!absl::ConsumePrefix(&line, "module ")) continue;
      const std::string program = fs::path(std::string(absl::StripAsciiWhitespace(line))).filename().string();
      return Set(absl::StrCat("./", program), "go.mod", absl::StrCat("go build -o ", program, " ."));
    }
    return false;
  }

  bool Cargo() {
    for (absl::string_view line : absl::StrSplit(Read("Cargo.toml"), '\n')) {
      if (!absl::ConsumePrefix(&line, "name")) continue;
      const std::vector<absl::string_view> parts = absl::StrSplit(line, '"');
      if (parts.size() >= 2) {
        return Set(absl::StrCat("./target/release/", parts[1]), "Cargo.toml", "cargo build --release");
      }
    }
    return false;
  }

  bool Maven() {
    if (!Has("pom.xml")) return false;
    const std::string pom = Read("pom.xml");
    const auto value = [&](absl::string_view tag) -> std::string {
      // The project's own values stand before those of its dependencies, but behind its parent's.
      size_t from = pom.find("</parent>");
      from = pom.find(absl::StrCat("<", tag, ">"), from == std::string::npos ? 0 : from);
      const size_t end = from == std::string::npos ? from : pom.find("</", from);
      return end == std::string::npos ? "" : pom.substr(from + tag.size() + 2, end - from - tag.size() - 2);
    };
    const std::string version = value("version");
    return Set(absl::StrCat("java -jar target/", value("artifactId"), version.empty() ? "" : "-", version, ".jar"),
               "pom.xml", "mvn -q package");
  }

  bool Makefile() {
    for (absl::string_view line : absl::StrSplit(Read("Makefile"), '\n')) {
      for (const char* target : {"run", "serve", "start"}) {
        if (absl::StartsWith(line, absl::StrCat(target, ":"))) {
          return Set(absl::StrCat("make ", target), absl::StrCat("Makefile (", target, ")"));
        }
      }
    }
    return false;
  }

  bool Executable() {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      const std::string name = entry.path().filename().string();
      if (name.front() != '.' && entry.is_regular_file(error) && access(entry.path().c_str(), X_OK) == 0)
        found.push_back(name);
    }
    return found.size() == 1 ? Set(absl::StrCat("./", found[0]), found[0]) : false;
  }

  // EXPOSE tells the port in any case; CMD is used when nothing else said how to run it.
  void Dockerfile(bool found) {
    for (absl::string_view line : absl::StrSplit(Read("Dockerfile"), '\n')) {
      line = absl::StripAsciiWhitespace(line);
      if (absl::ConsumePrefix(&line, "EXPOSE ")) {
        int port = 0;
        const absl::string_view digits = line.substr(0, line.find_first_not_of("0123456789"));
        if (absl::SimpleAtoi(digits, &port) && service_.port == 0) service_.port = port;
      } else if (!found && (absl::ConsumePrefix(&line, "CMD ") || absl::ConsumePrefix(&line, "ENTRYPOINT "))) {
        const nlohmann::json words = nlohmann::json::parse(line.begin(), line.end(), nullptr, false);
        std::vector<std::string> parts;
        if (words.is_array()) {
          for (const auto& word : words) parts.push_back(word.is_string() ? word.get<std::string>() : word.dump());
        }
        Set(parts.empty() ? std::string(line) : absl::StrJoin(parts, " "), "Dockerfile");
      }
    }
  }

  const fs::path folder_;
  FirstService service_;
};

// As a double-quoted scalar where a plain one would not do; ${...} is text here, not a reference.
std::string YamlText(absl::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains(" ./-_=+@", absl::string_view(&c, 1));
  }) && (absl::ascii_isalpha(text.front()) || text.front() == '.' || text.front() == '/');
  if (plain) return std::string(text);
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"' || text[i] == '\\') out += '\\';
    if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{') out += '$';
    out += text[i];
  }
  return out + "\"";
}

}  // namespace

absl::StatusOr<FirstService> GuessService(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return absl::NotFoundError(absl::StrCat(EscapeLine(folder), " is no folder"));
  return Guesser(fs::absolute(folder, error).lexically_normal()).Guess();
}

std::string RenderFirstService(const FirstService& service) {
  std::string out = "# yaml-language-server: $schema=service.schema.json\n";
  absl::StrAppend(&out, "name: ", service.name, "\ntype: ", service.type,
                  "          # http, grpc, worker, job, postgres, redis: brings port, probe and stop signal\n");
  if (service.run.empty()) {
    absl::StrAppend(&out, "run: ./", service.name,
                    "          # the command that starts it (nothing here told which)\n");
  } else {
    absl::StrAppend(&out, "run: ", YamlText(service.run), "  # from ", EscapeLine(service.origin));
    absl::StrAppend(&out, service.before.empty() ? "" : "; build it first: ", EscapeLine(service.before), "\n");
  }
  if (service.port != 0) absl::StrAppend(&out, "port: ", service.port, "  # from Dockerfile (EXPOSE)\n");
  absl::StrAppend(&out,
                  "# needs: [postgres]                   # services that must be ready before it starts\n"
                  "# env:\n"
                  "#   DATABASE_URL: ${postgres.url}     # addresses of other services\n"
                  "# expose: true                        # reachable from this machine\n");
  return out;
}

}  // namespace mayfly
