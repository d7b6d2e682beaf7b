// What `mayfly doctor` is told of the cluster, as it is at that moment.
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <ctime>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "mayfly/base/text.h"
#include "server/engine/kubernetes/client/api_client.h"
#include "server/engine/kubernetes/kubernetes_engine_impl.h"
#include "server/engine/kubernetes/rights.h"

namespace mayfly::kubernetes {
namespace {

using nlohmann::json;
using Result = CapabilityCheck::Result;

constexpr auto kDoctorPatience = std::chrono::seconds(3);
// A watch that is broken tells so again with every try, which are some seconds apart.
constexpr absl::Duration kTroubleLasts = absl::Seconds(15);
constexpr absl::Duration kRenewSoon = absl::Hours(7 * 24);

// `ask` is given a callback; its value, or nothing when it takes too long.
template <typename T>
std::optional<T> WaitFor(const std::function<void(std::function<void(T)>)>& ask) {
  // Shared, as a late answer finds nobody.
  const auto promise = std::make_shared<std::promise<T>>();
  std::future<T> answer = promise->get_future();
  ask([promise](T value) { promise->set_value(std::move(value)); });
  if (answer.wait_for(kDoctorPatience) != std::future_status::ready) return std::nullopt;
  return answer.get();
}

using JsonAnswer = absl::StatusOr<json>;

JsonAnswer AnswerOr(std::optional<JsonAnswer> answer) {
  return answer.has_value() ? *std::move(answer) : absl::DeadlineExceededError("no answer within 3 s");
}

// When the first certificate of a PEM text ends to be valid.
std::optional<absl::Time> EndOfCertificate(const std::string& pem) {
  const std::unique_ptr<BIO, void (*)(BIO*)> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                 BIO_free_all);
  const std::unique_ptr<X509, void (*)(X509*)> certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                           X509_free);
  std::tm time{};
  if (certificate == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &time) != 1) return std::nullopt;
  return absl::FromTM(time, absl::UTCTimeZone());
}

CapabilityCheck CertificateCheck(const std::string& pem) {
  const std::optional<absl::Time> end = EndOfCertificate(pem);
  if (!end.has_value()) return {"credentials", Result::kDegraded, "the client certificate cannot be read", ""};
  const std::string when = absl::FormatTime("%Y-%m-%d %H:%M UTC", *end, absl::UTCTimeZone());
  const char* const remedy = "renew it in the kubeconfig, then start the server anew; environments live on";
  if (*end <= absl::Now()) return {"credentials", Result::kMissing, "the client certificate ended at " + when, remedy};
  if (*end - absl::Now() < kRenewSoon) {
    return {"credentials", Result::kDegraded, "the client certificate ends soon, at " + when, remedy};
  }
  return {"credentials", Result::kOk, "client certificate until " + when, ""};
}

CapabilityCheck RightsCheck(const JsonAnswer& review, bool with_ingress, RightsProfile profile) {
  if (!review.ok()) {
    return {"rights", Result::kDegraded, absl::StrCat("cannot be seen: ", EscapeLine(review.status().message())), ""};
  }
  const json& status = review->value("status", json::object());
  const std::vector<std::string> missing = MissingRights(status, profile, with_ingress);
  if (missing.empty()) return {"rights", Result::kOk, "all that environments need", ""};
  const auto incomplete = status.find("incomplete");
  // Another authorizer than RBAC may allow what it does not list.
  const bool unsure = incomplete != status.end() && incomplete->is_boolean() && incomplete->get<bool>();
  return {"rights", unsure ? Result::kDegraded : Result::kMissing,
          absl::StrCat(unsure ? "perhaps missing: " : "missing: ", absl::StrJoin(missing, ", ")),
          "give the server's identity the rules of docs/kubernetes.md"};
}

}  // namespace

void KubernetesEngineImpl::Trouble(const std::string& what, const absl::Status& status) {
  MutexLock lock(mutex_);
  if (status.ok()) {
    troubles_.erase(what);
  } else {
    troubles_[what] = {absl::Now(), std::string(status.message())};
  }
}

void KubernetesEngineImpl::DescribeNow(Capabilities* out) {
  const absl::Time asked = absl::Now();
  const JsonAnswer version = AnswerOr(WaitFor<JsonAnswer>([this](auto done) { api_->Get("/version", done); }));
  const std::string& url = options_.endpoint.server;
  if (!version.ok()) {
    out->usable = false;
    out->checks.push_back({"API server", Result::kMissing,
                           absl::StrCat(EscapeLine(url), ": ", EscapeLine(version.status().message())),
                           "environments live on; new ones and teardowns wait until it answers"});
    return;
  }
  out->checks.push_back({"API server", Result::kOk,
                         absl::StrCat(EscapeLine(url), ", ", EscapeLine(version->value("gitVersion", "")),
                                      ", answered in ", HumanDuration(absl::Now() - asked)),
                         ""});
  {
    MutexLock lock(mutex_);
    for (const auto& [what, trouble] : troubles_) {
      const absl::Duration since = absl::Now() - trouble.first;
      if (since > kTroubleLasts) continue;
      out->checks.push_back(
          {what, Result::kDegraded,
           absl::StrCat("the watch broke ", HumanDuration(since), " ago: ", EscapeLine(trouble.second)),
           "until it stands again, what happens there is told late"});
    }
  }
  if (const auto& tls = options_.endpoint.tls; tls != nullptr && !tls->certificate.empty()) {
    out->checks.push_back(CertificateCheck(tls->certificate));
  }
  if (gives_namespaces()) return DescribeGiven(out);
  // Rules for the whole cluster hold in any namespace, also in one that is not there.
  const json review = {{"apiVersion", "authorization.k8s.io/v1"},
                       {"kind", "SelfSubjectRulesReview"},
                       {"spec", {{"namespace", "default"}}}};
  out->checks.push_back(RightsCheck(AnswerOr(WaitFor<JsonAnswer>([&](auto done) {
                                      api_->Create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review,
                                                   done);
                                    })),
                                    !options_.ingress.domain.empty(), RightsProfile::kCluster));
}

// One line where all is well: there may be hundreds.
void KubernetesEngineImpl::DescribeGiven(Capabilities* out) {
  const bool with_ingress = !options_.ingress.domain.empty();
  const auto ask = [this](const std::string& name) {
    const json review = {
        {"apiVersion", "authorization.k8s.io/v1"}, {"kind", "SelfSubjectRulesReview"}, {"spec", {{"namespace", name}}}};
    const auto promise = std::make_shared<std::promise<JsonAnswer>>();
    api_->Create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review,
                 [promise](JsonAnswer answer) { promise->set_value(std::move(answer)); });
    return promise->get_future();
  };
  std::vector<std::future<JsonAnswer>> reviews;
  for (const OwnedNamespace& one : owned_) reviews.push_back(ask(one.name));
  const auto end = std::chrono::steady_clock::now() + kDoctorPatience;
  size_t fit = 0;
  for (size_t i = 0; i < owned_.size(); ++i) {
    const OwnedNamespace& one = owned_[i];
    const bool came = reviews[i].wait_until(end) == std::future_status::ready;
    CapabilityCheck check = RightsCheck(came ? reviews[i].get() : absl::DeadlineExceededError("no answer within 3 s"),
                                        with_ingress, RightsProfile::kGiven);
    check.name = absl::StrCat("kube namespace ", one.name);
    // What was found at the start says more, unless rights were taken away since.
    if (!one.trouble.empty() && (check.result == Result::kOk || one.uid.empty())) {
      check = {check.name, Result::kMissing, absl::StrCat("no environment is put there: ", one.trouble),
               "when that is mended, start the server anew; environments live on"};
    }
    check.result == Result::kOk ? void(++fit) : out->checks.push_back(std::move(check));
  }
  size_t used = 0;
  io_.Run([&] { used = pool_.size() - pool_.FreeOnes().size(); });
  out->checks.push_back({"rights", fit > 0 ? Result::kOk : Result::kMissing,
                         absl::StrCat("all that environments need, in ", fit, " of ", owned_.size(),
                                      " kube namespaces; ", used, " in use"),
                         fit > 0 ? "" : "give the server's identity the rules of docs/kubernetes.md"});
}

}  // namespace mayfly::kubernetes
