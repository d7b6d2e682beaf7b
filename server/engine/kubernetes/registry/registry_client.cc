#include "server/engine/kubernetes/registry/registry_client.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "mayfly/base/ids.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/json_text.h"
#include "server/engine/kubernetes/registry/manifest.h"

namespace mayfly::registry {
namespace {

constexpr size_t kLargestManifest = 4 << 20;
constexpr size_t kLargestConfigBlob = 8 << 20;
constexpr size_t kLargestToken = 64 << 10;
constexpr int kMostRedirects = 3;
constexpr absl::Duration kTokenLives = absl::Seconds(60);  // As the protocol has it, where the answer does not say.
constexpr absl::Duration kTokenSpare = absl::Seconds(10);

constexpr char kManifestTypes[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

std::string OwnArchitecture() {
#if defined(__aarch64__)
  return "arm64";
#else
  return "amd64";
#endif
}

std::string HostOf(const std::string& registry) {
  return registry == "docker.io" ? "registry-1.docker.io" : registry;
}

// "https://host:port" of a URL.
absl::string_view OriginIn(absl::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == absl::string_view::npos) return "";
  return url.substr(0, url.find('/', scheme + 3));
}

std::string Encoded(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || absl::StrContains("-._~:/", absl::string_view(&c, 1))) {
      out.push_back(c);
    } else {
      absl::StrAppend(&out, "%", absl::BytesToHexString(absl::string_view(&c, 1)));
    }
  }
  return out;
}

}  // namespace

// What all lookups share; on the http client's thread.
class RegistryClient::Impl {
 public:
  struct Token {
    std::string text;
    absl::Duration until;
  };
  struct Silence {
    std::string message;
    absl::Duration until;
  };

  Impl(RegistryClientOptions options, DockerConfig* credentials)
      : options(std::move(options)), credentials(credentials), http({.max_host_connections = 16}) {
    if (this->options.architecture.empty()) this->options.architecture = OwnArchitecture();
  }

  RegistryClientOptions options;
  DockerConfig* const credentials;
  std::map<std::string, Token> tokens;      // By registry, repository and user.
  std::set<std::string> basic;              // Registries that have asked for user and password.
  std::map<std::string, Silence> silences;  // By registry.
  http::Client http;                        // Last: its thread uses all of the above.
};

// One name on its way: manifest, where needed the platform's manifest and the configuration, with the sign-in between.
class RegistryClient::Lookup : public std::enable_shared_from_this<Lookup> {
 public:
  Lookup(Impl* impl, Reference reference, bool with_config, Done done)
      : impl_(*impl), reference_(std::move(reference)), with_config_(with_config), done_(std::move(done)) {}

  ~Lookup() {
    if (done_) done_(absl::CancelledError("the server ends"));
  }

  void Begin() {
    insecure_ = impl_.options.insecure.count(reference_.registry) > 0;
    until_ = Now() + (with_config_ ? impl_.options.config_deadline : impl_.options.deadline);
    if (const auto silent = impl_.silences.find(reference_.registry); silent != impl_.silences.end()) {
      if (silent->second.until > Now()) return Finish(absl::UnavailableError(silent->second.message));
      impl_.silences.erase(silent);
    }
    credentials_ = impl_.credentials->Find(reference_.registry);
    const std::string& wanted = reference_.digest.empty() ? reference_.tag : reference_.digest;
    Get(absl::StrCat("manifests/", wanted), kLargestManifest, [this](const http::Response& answer) { OnTop(answer); });
  }

 private:
  using Then = std::function<void(const http::Response&)>;

  absl::Duration Now() { return impl_.http.loop().Monotonic(); }
  std::string Base() const { return absl::StrCat(insecure_ ? "http://" : "https://", HostOf(reference_.registry)); }
  std::string TokenKey() const {
    return absl::StrCat(
        reference_.registry, " ", reference_.repository, " ",
        credentials_ == nullptr ? "" : Sha256Hex(absl::StrCat(credentials_->user, ":", credentials_->password)));
  }

  void Get(absl::string_view path, size_t limit, Then then) {
    limit_ = limit;
    then_ = std::move(then);
    redirects_ = 0;
    signed_in_ = false;
    Send(absl::StrCat(Base(), "/v2/", reference_.repository, "/", path));
  }

  http::Request MakeRequest(std::string url, size_t limit) {
    http::Request request;
    request.url = std::move(url);
    request.deadline = std::max(until_ - Now(), absl::Milliseconds(1));
    request.connect = std::min(request.deadline, absl::Seconds(5));
    request.max_bytes = limit;
    return request;
  }

  std::string BasicValue() const {
    return absl::StrCat("Basic ", absl::Base64Escape(absl::StrCat(credentials_->user, ":", credentials_->password)));
  }

  void Send(const std::string& url) {
    http::Request request = MakeRequest(url, limit_);
    sent_basic_ = false;
    request.headers.push_back({"Accept", kManifestTypes});
    // A storage behind a redirect is somebody else.
    if (OriginIn(url) == Base()) {
      const auto token = impl_.tokens.find(TokenKey());
      if (token != impl_.tokens.end() && token->second.until > Now()) {
        request.headers.push_back({"Authorization", absl::StrCat("Bearer ", token->second.text)});
      } else if (credentials_ != nullptr && impl_.basic.count(reference_.registry) > 0) {
        request.headers.push_back({"Authorization", BasicValue()});
        sent_basic_ = true;
      }
    }
    impl_.http.Send(std::move(request), [self = shared_from_this(), url](http::Outcome outcome) {
      self->OnAnswer(url, std::move(outcome));
    });
  }

  void OnAnswer(const std::string& url, http::Outcome outcome) {
    if (!outcome.response.ok()) return OnSilence(outcome.response.status());
    const http::Response& answer = *outcome.response;
    switch (answer.status) {
      case 200: {
        const Then then = std::exchange(then_, nullptr);  // It may set the next one.
        return then(answer);
      }
      case 301:
      case 302:
      case 303:
      case 307:
      case 308:
        return Redirect(url, std::string(answer.Find("location")));
      case 401:
        return SignIn(url, ParseChallenge(answer.Find("www-authenticate")));
      case 403:
        return Refused();
      case 404:
        return Finish(absl::NotFoundError("the registry has no such image"));
      default:
        return Finish(absl::UnavailableError(absl::StrCat(HostOf(reference_.registry), " answered ", answer.status)));
    }
  }

  void OnSilence(const absl::Status& status) {
    if (absl::IsCancelled(status)) return Finish(status);
    if (absl::IsResourceExhausted(status)) return Finish(absl::DataLossError(status.message()));
    const std::string message(status.message());
    impl_.silences[reference_.registry] = {message, Now() + impl_.options.pause};
    Finish(absl::UnavailableError(message));
  }

  void Redirect(const std::string& from, std::string to) {
    if (absl::StartsWith(to, "/")) to = absl::StrCat(OriginIn(from), to);
    const bool plain = absl::StartsWith(to, "http://") && insecure_;
    if (++redirects_ > kMostRedirects || (!absl::StartsWith(to, "https://") && !plain)) {
      return Finish(absl::DataLossError(absl::StrCat(HostOf(reference_.registry),
                                                     " sends elsewhere without end, or where "
                                                     "nobody may follow")));
    }
    Send(to);
  }

  void Refused() {
    if (credentials_ == nullptr) {
      return Finish(absl::UnauthenticatedError(absl::StrCat(HostOf(reference_.registry), " wants credentials")));
    }
    Finish(absl::PermissionDeniedError(absl::StrCat(HostOf(reference_.registry), " refuses the credentials of user '",
                                                    EscapeLine(credentials_->user), "'")));
  }

  void SignIn(const std::string& url, const Challenge& challenge) {
    if (std::exchange(signed_in_, true) || OriginIn(url) != Base()) return Refused();
    if (challenge.scheme == "basic" && credentials_ != nullptr && !sent_basic_) {
      impl_.basic.insert(reference_.registry);
      return Send(url);
    }
    const auto realm = challenge.parameters.find("realm");
    if (challenge.scheme != "bearer" || realm == challenge.parameters.end()) return Refused();
    // Credentials do not travel in the clear, but to a registry that was named for that.
    const bool plain = insecure_ && absl::StartsWith(realm->second, "http://");
    if (!absl::StartsWith(realm->second, "https://") && !plain) return Refused();
    std::string at = absl::StrCat(realm->second, absl::StrContains(realm->second, '?') ? "&" : "?",
                                  "scope=", Encoded(absl::StrCat("repository:", reference_.repository, ":pull")));
    if (const auto service = challenge.parameters.find("service"); service != challenge.parameters.end()) {
      absl::StrAppend(&at, "&service=", Encoded(service->second));
    }
    impl_.tokens.erase(TokenKey());
    http::Request request = MakeRequest(std::move(at), kLargestToken);
    if (credentials_ != nullptr) request.headers.push_back({"Authorization", BasicValue()});
    impl_.http.Send(std::move(request),
                    [self = shared_from_this(), url](http::Outcome outcome) { self->OnToken(url, outcome); });
  }

  void OnToken(const std::string& url, const http::Outcome& outcome) {
    if (!outcome.response.ok()) return OnSilence(outcome.response.status());
    if (outcome.response->status != 200) return Refused();
    const absl::StatusOr<nlohmann::json> answer = kube::ParseJson(outcome.response->body);
    if (!answer.ok()) return Finish(absl::DataLossError("the registry's token server does not answer with JSON"));
    std::string token = kube::TextAt(*answer, {"token"});
    if (token.empty()) token = kube::TextAt(*answer, {"access_token"});
    const bool clean = std::all_of(token.begin(), token.end(), [](char c) { return absl::ascii_isgraph(c); });
    if (token.empty() || !clean) return Finish(absl::DataLossError("the registry's token server gives no token"));
    const int64_t lives = kube::NumberAt(*answer, {"expires_in"});
    const absl::Duration lasts = lives > 0 ? absl::Seconds(std::min<int64_t>(lives, 3600)) : kTokenLives;
    if (impl_.tokens.size() > 1000) impl_.tokens.clear();
    impl_.tokens[TokenKey()] = {token, Now() + std::max(lasts - kTokenSpare, absl::Seconds(1))};
    Send(url);
  }

  // The content's digest, which must be `wanted` unless that is empty.
  absl::StatusOr<std::string> Checked(const http::Response& answer, const std::string& wanted) {
    std::string digest = absl::StrCat("sha256:", Sha256Hex(answer.body));
    const std::string said = wanted.empty() ? std::string(answer.Find("docker-content-digest")) : wanted;
    if (digest == said || (wanted.empty() && !absl::StartsWith(said, "sha256:"))) return digest;
    return absl::DataLossError(absl::StrCat(HostOf(reference_.registry), " sends other content than the digest says"));
  }

  void OnTop(const http::Response& answer) {
    const absl::StatusOr<std::string> digest = Checked(answer, reference_.digest);
    if (!digest.ok()) return Finish(digest.status());
    image_.digest = *digest;
    const absl::StatusOr<ManifestLink> link = ReadManifest(answer.body, impl_.options.architecture);
    if (!link.ok()) return Finish(link.status());
    if (!with_config_) return Finish(image_);
    if (!link->config.empty()) return GetConfig(link->config);
    Get(absl::StrCat("manifests/", link->manifest), kLargestManifest,
        [this, wanted = link->manifest](const http::Response& inner) { OnInner(inner, wanted); });
  }

  void OnInner(const http::Response& answer, const std::string& wanted) {
    if (const auto digest = Checked(answer, wanted); !digest.ok()) return Finish(digest.status());
    const absl::StatusOr<ManifestLink> link = ReadManifest(answer.body, impl_.options.architecture);
    if (!link.ok()) return Finish(link.status());
    if (link->config.empty()) return Finish(absl::DataLossError("its index leads to an index"));
    GetConfig(link->config);
  }

  void GetConfig(const std::string& wanted) {
    Get(absl::StrCat("blobs/", wanted), kLargestConfigBlob, [this, wanted](const http::Response& answer) {
      if (const auto digest = Checked(answer, wanted); !digest.ok()) return Finish(digest.status());
      absl::StatusOr<ImageConfig> config = ReadConfig(answer.body);
      if (!config.ok()) return Finish(config.status());
      image_.config = *std::move(config);
      Finish(image_);
    });
  }

  void Finish(absl::StatusOr<Image> result) {
    if (done_) std::exchange(done_, nullptr)(std::move(result));
  }

  Impl& impl_;
  const Reference reference_;
  const bool with_config_;
  Done done_;
  bool insecure_ = false, signed_in_ = false, sent_basic_ = false;
  absl::Duration until_;
  std::shared_ptr<const Credentials> credentials_;
  size_t limit_ = 0;
  int redirects_ = 0;
  Then then_;
  Image image_;
};

RegistryClient::RegistryClient(RegistryClientOptions options, DockerConfig* credentials)
    : impl_(std::make_unique<Impl>(std::move(options), credentials)) {}

RegistryClient::~RegistryClient() = default;

void RegistryClient::Resolve(const Reference& reference, bool with_config, Done done) {
  auto lookup = std::make_shared<Lookup>(impl_.get(), reference, with_config, std::move(done));
  impl_->http.loop().Post([lookup] { lookup->Begin(); });
}

}  // namespace mayfly::registry
