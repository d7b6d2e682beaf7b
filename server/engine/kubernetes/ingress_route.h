// One exposed port behind the cluster's ingress controller, from the objects that ask for it to the moment when its URL
// leads there. The controller fills in the status when it has taken an Ingress, but routes later or never: that is
// asked.
#ifndef MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_ROUTE_H_
#define MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_ROUTE_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/kubernetes/ingress_objects.h"
#include "server/engine/parts/reactor.h"
#include "server/http/message.h"

namespace mayfly::kubernetes {

// Not thread-safe; everything is called and answered on one reactor.
class IngressRoute {
 public:
  struct Told {
    std::string address;  // "HOST:PORT"; empty: it does not lead there, and `message` says what is known.
    std::string url;
    std::string message;
  };
  struct Wiring {
    using Answer = std::function<void(const absl::StatusOr<nlohmann::json>&)>;
    std::function<void(Creation, Answer)> create;
    std::function<void(http::Request, std::function<void(http::Outcome)>)> ask;
    // Once it leads there; before that at most once without an address, when it did not within a reasonable time.
    std::function<void(const Told&)> tell;
  };
  IngressRoute(Reactor& reactor, IngressOptions options, std::string label, Wiring wiring);
  ~IngressRoute();
  IngressRoute(const IngressRoute&) = delete;
  IngressRoute& operator=(const IngressRoute&) = delete;

  // Makes `objects` (as IngressObjects).
  void Make(std::vector<Creation> objects);
  // The Ingress as the cluster has it now.
  void OnObject(const nlohmann::json& ingress);
  // Whether somebody is there to answer: nothing is asked while not.
  void SetReady(bool ready);
  // Tells again what was told.
  void Repeat();

  const std::string& label() const { return label_; }
  const std::string& uid() const { return uid_; }  // Of the Ingress; empty: not known to exist.

 private:
  void TryAsk();
  void AskLater();
  void OnAnswer(const http::Outcome& outcome);
  void Compare(int status, const std::string& body);
  void Tell();
  void GiveNotice();
  http::Request MakeRequest(const std::string& host) const;
  std::function<void(http::Outcome)> Guarded(std::function<void(const http::Outcome&)> fn);

  Reactor& reactor_;
  const IngressOptions options_;
  const std::string label_, host_;
  const Wiring wiring_;
  std::string uid_, controller_;  // Where the controller is.
  bool made_ = false, ready_ = false, asking_ = false, told_ = false, noticed_ = false;
  absl::Duration pause_;
  std::string trouble_;  // Why it is not told.
  Reactor::TimerId timer_ = 0, notice_ = 0;
  std::shared_ptr<IngressRoute*> self_;
};

}  // namespace mayfly::kubernetes

#endif  // MAYFLY_SERVER_ENGINE_KUBERNETES_INGRESS_ROUTE_H_
