#include "server/engine/parts/probe.h"

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/engine/parts/probe_pace.h"
#include "tests/support/network.h"
#include "tests/support/reactor_server.h"
#include "tests/support/status_matchers.h"

namespace mayfly::local {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class ProberTest : public testing::Test {
 protected:
  void Begin(Probe probe, bool diagnostics = true) {
    ProberOptions options;
    options.probe = std::move(probe);
    options.address = "127.0.0.1";
    options.diag = diagnostics ? &*diag_ : nullptr;
    options.budget = &budget_;
    options.run_command = [this](const auto& argv, auto done) {
      command_ = argv;
      command_done_ = done;
    };
    prober_ = std::make_unique<Prober>(reactor_, std::move(options), Prober::Callbacks{[this] { ready_ = true; }, {}});
    prober_->Start();
  }
  bool BecomesReady() {
    return RunUntil(reactor_, [this] { return ready_; });
  }
  bool LooksAgain(int64_t times) {
    const int64_t until = prober_->looks() + times;
    return RunUntil(reactor_, [&] { return prober_->looks() >= until; });
  }
  // Until the prober's own diagnosis contains `text`.
  bool Says(const std::string& text) {
    return RunUntil(reactor_, [&] { return absl::StrContains(prober_->Diagnose().message, text); });
  }
  static ReactorServer::Script Http(int status, const std::string& body) {
    return [=](const std::string&) {
      return ReactorServer::Reply{
          absl::StrFormat("HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", status, body.size(), body), false};
    };
  }

  Reactor reactor_;
  absl::StatusOr<SockDiag> diag_ = SockDiag::Open();
  ProbeBudget budget_;
  std::unique_ptr<Prober> prober_;
  bool ready_ = false;
  std::vector<std::string> command_;
  std::function<void(int, std::string)> command_done_;
};

TEST_F(ProberTest, WithoutAProbeItIsReadyAtOnceButNotInline) {
  Begin({.kind = Probe::Kind::kNone});
  EXPECT_FALSE(ready_);
  EXPECT_TRUE(BecomesReady());
}

TEST_F(ProberTest, TcpIsReadyOnceSomebodyListens) {
  for (const bool diagnostics : {true, false}) {
    ready_ = false;
    const auto listener = Listener::Bound();
    Begin({.kind = Probe::Kind::kTcp, .port = listener->port()}, diagnostics);
    EXPECT_TRUE(LooksAgain(3));
    EXPECT_FALSE(ready_);
    // With diagnostics nobody knocks before somebody is there.
    const ProbeFailure failure = prober_->Diagnose();
    const auto refused = testing::HasSubstr("connection refused");
    EXPECT_EQ(diagnostics, testing::Value(failure.message, testing::Not(refused)));
    EXPECT_THAT(failure.evidence, testing::Not(Contains(refused)));
    listener->Listen();
    EXPECT_TRUE(BecomesReady());
    EXPECT_TRUE(prober_->ready());
  }
}

TEST_F(ProberTest, NobodyIsConnectedToBeforeHeListens) {
  const int port = FreePort();
  Begin({.kind = Probe::Kind::kHttp, .port = port, .path = "/"});
  EXPECT_TRUE(LooksAgain(3));
  ReactorServer server(reactor_, Http(200, "ok"), "127.0.0.1", port);
  EXPECT_TRUE(BecomesReady());
  EXPECT_EQ(server.accepted(), 1);
}

TEST_F(ProberTest, HttpAsksForThePathAndTakesARedirectForReady) {
  ReactorServer server(reactor_, Http(302, ""));
  Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/health z\r\nX: y"});
  EXPECT_TRUE(BecomesReady());
  EXPECT_THAT(server.last_heard(), HasSubstr("GET /health%20z%0D%0AX:%20y HTTP/1.1\r\n"));
  EXPECT_THAT(server.last_heard(), HasSubstr(absl::StrCat("Host: 127.0.0.1:", server.port(), "\r\n")));
}

TEST_F(ProberTest, HttpSaysWhatWasAnsweredUntilItIsHealthy) {
  int status = 503;
  ReactorServer server(reactor_, [&](const std::string& heard) { return Http(status, "starting \x1b[31mup")(heard); });
  Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/"});
  EXPECT_TRUE(Says("HTTP 503: 'starting \\x1b[31mup'"));
  EXPECT_EQ(prober_->Diagnose().code, CauseCode::kProbeFailing);
  status = 200;
  EXPECT_TRUE(BecomesReady());
}

TEST_F(ProberTest, AnUnhealthyHttpAnswerWithoutLengthEndsWithTheConnection) {
  ReactorServer server(reactor_, [](const std::string&) {
    return ReactorServer::Reply{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 500 Oops\r\n\r\nno database\n", true};
  });
  Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/"});
  EXPECT_TRUE(Says("HTTP 500: 'no database'"));
}

TEST_F(ProberTest, HttpToleratesWhatIsNotHttp) {
  for (const auto& [answer, message] :
       std::map<std::string, std::string>{{"SSH-2.0-OpenSSH\r\n", "not an HTTP answer: 'SSH-2.0-OpenSSH'"},
                                          {"HTTP/1.1 what\r\n\r\n", "not an HTTP answer: 'HTTP/1.1 what'"},
                                          {"", "closed the connection without an answer"},
                                          {std::string(3000, '\x01'), "not an HTTP answer: '\\x01"}}) {
    ReactorServer server(reactor_, [&](const std::string&) { return ReactorServer::Reply{answer, true}; });
    Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/"});
    EXPECT_TRUE(Says(message)) << prober_->Diagnose().message;
    EXPECT_LT(prober_->Diagnose().message.size(), 600u);
  }
}

TEST_F(ProberTest, AnAnswerWithoutAnEndIsCutOff) {
  ReactorServer server(reactor_, [](const std::string&) {
    return ReactorServer::Reply{absl::StrCat("HTTP/1.1 200 OK\r\nX: ", std::string(70000, 'x')), false};
  });
  Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/"});
  EXPECT_TRUE(Says("answered without an end"));
}

TEST_F(ProberTest, ASilentServiceIsGivenUpAfterASecondAndAskedAgain) {
  ReactorServer server(reactor_, [](const std::string&) { return ReactorServer::Reply{}; });
  Begin({.kind = Probe::Kind::kHttp, .port = server.port(), .path = "/"});
  EXPECT_TRUE(Says("no answer within 1"));
  EXPECT_TRUE(RunUntil(reactor_, [&] { return server.accepted() == 2; }));
}

TEST_F(ProberTest, ACommandIsRunAgainUntilItExitsZero) {
  Begin({.kind = Probe::Kind::kCommand, .command = {"pg_isready", "-q"}});
  EXPECT_TRUE(RunUntil(reactor_, [this] { return command_done_ != nullptr; }));
  EXPECT_THAT(command_, testing::ElementsAre("pg_isready", "-q"));
  std::exchange(command_done_, nullptr)(2, std::string(500, 'x') + "\nno response\n");
  EXPECT_THAT(prober_->Diagnose().message, HasSubstr("the probe's command exited with code 2: ..."));
  EXPECT_THAT(prober_->Diagnose().message, HasSubstr("no response'"));
  EXPECT_TRUE(RunUntil(reactor_, [this] { return command_done_ != nullptr; }));
  std::exchange(command_done_, nullptr)(0, "");
  EXPECT_TRUE(ready_);
}

TEST_F(ProberTest, ACommandThatEndsAfterTheProberIsIgnored) {
  Begin({.kind = Probe::Kind::kCommand, .command = {"true"}});
  EXPECT_TRUE(RunUntil(reactor_, [this] { return command_done_ != nullptr; }));
  prober_.reset();
  command_done_(0, "");
  EXPECT_FALSE(ready_);
}

TEST_F(ProberTest, ALineOfTheLogMakesItReady) {
  Begin({.kind = Probe::Kind::kLog, .pattern = "ready to (accept|serve)"});
  prober_->OnLogLine("getting ready");
  prober_->OnNotify("READY=1");
  EXPECT_FALSE(ready_);
  EXPECT_THAT(prober_->Diagnose().message, HasSubstr("no line of its output matched 'ready to (accept|serve)'"));
  prober_->OnLogLine("12:00 LOG: database system is ready to accept connections");
  EXPECT_TRUE(ready_);
}

TEST_F(ProberTest, ABrokenPatternNeverMatchesAndSaysSo) {
  Begin({.kind = Probe::Kind::kLog, .pattern = "("});
  prober_->OnLogLine("(");
  EXPECT_FALSE(ready_);
  EXPECT_THAT(prober_->Diagnose().message, HasSubstr("no regular expression"));
}

TEST_F(ProberTest, ANotificationMakesItReadyAndItsStatusIsEvidence) {
  Begin({.kind = Probe::Kind::kNotify});
  prober_->OnNotify("STATUS=loading 7 of 9\nREADY=0\nXREADY=1");
  EXPECT_FALSE(ready_);
  EXPECT_THAT(prober_->Diagnose().evidence, Contains("its status: 'loading 7 of 9'"));
  prober_->OnNotify("STATUS=ok\nREADY=1\n");
  EXPECT_TRUE(ready_);
}

TEST_F(ProberTest, FailuresAreReportedWhileNotReadyAndTheReceiverMayEndIt) {
  ProberOptions options;
  const auto bound = Listener::Bound();
  options.probe = {.kind = Probe::Kind::kTcp, .port = bound->port()};
  options.address = "127.0.0.1";
  std::vector<ProbeFailure> failures;
  std::unique_ptr<Prober> prober;
  prober = std::make_unique<Prober>(reactor_, options, Prober::Callbacks{{}, [&](const ProbeFailure& failure) {
                                                                           failures.push_back(failure);
                                                                           prober.reset();
                                                                         }});
  prober->Start();
  EXPECT_TRUE(RunUntil(reactor_, [&] { return prober == nullptr; }));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].code, CauseCode::kNeverListened);
  EXPECT_EQ(failures[0].message, "connection refused");
}

TEST_F(ProberTest, AHintLooksAtOnceAndAFewTimesQuickly) {
  Begin({.kind = Probe::Kind::kTcp, .port = FreePort()});
  EXPECT_TRUE(LooksAgain(1));
  budget_.Charge(reactor_.Now(), absl::Microseconds(200));
  for (int i = 0; i < 1000; ++i) budget_.Charge(reactor_.Now(), absl::Microseconds(200));
  EXPECT_TRUE(LooksAgain(1));  // The one that was due; the next one waits for the budget, which is seconds away.
  EXPECT_GT(budget_.Wait(reactor_.Now()), absl::Seconds(1));
  const absl::Duration before = reactor_.Now();
  prober_->Hint();
  EXPECT_TRUE(LooksAgain(5));
  EXPECT_LT(reactor_.Now() - before, budget_.Wait(before));
}

TEST(ExplainPortTest, SaysWhatIsWrongWithThePort) {
  const auto explain = [](std::vector<ListeningPort> listening) {
    const ProbeFailure failure = ExplainPort("10.0.0.2", 8080, listening);
    return absl::StrCat(InfoFor(failure.code).name, ": ", failure.message);
  };
  EXPECT_EQ(explain({}), "NEVER_LISTENED: nothing listens on port 8080");
  EXPECT_EQ(explain({{"0.0.0.0", 9090}}), "WRONG_PORT: listens on 9090, declared is 8080");
  EXPECT_EQ(explain({{"127.0.0.1", 8080}, {"::1", 8080}}),
            "WRONG_PORT: listens on 127.0.0.1:8080, [::1]:8080 only; bind 0.0.0.0");
  EXPECT_EQ(explain({{"::", 8080, true}}), "WRONG_PORT: listens on 8080 for IPv6 only; bind 0.0.0.0");
  EXPECT_EQ(explain({{"127.0.0.1", 9090}}), "WRONG_PORT: listens on 127.0.0.1:9090, declared is 8080");
  EXPECT_EQ(explain({{"::", 8080}}), "PROBE_FAILING: ");
  EXPECT_EQ(explain({{"10.0.0.2", 8080}, {"0.0.0.0", 9}}), "PROBE_FAILING: ");
  std::vector<ListeningPort> many;
  for (int port = 1; port <= 9; ++port) many.push_back({"0.0.0.0", port});
  EXPECT_EQ(explain(many), "WRONG_PORT: listens on 1, 2, 3, 4, 5 and 4 more, declared is 8080");
}

TEST(ProbePaceTest, SlowsDownWithAgeAndStaysBounded) {
  EXPECT_EQ(LookPace(absl::ZeroDuration()), absl::Microseconds(500));
  EXPECT_EQ(LookPace(absl::Milliseconds(512)), absl::Milliseconds(1));
  EXPECT_EQ(LookPace(absl::Hours(1)), absl::Milliseconds(2));
  EXPECT_EQ(AnswerPace(absl::Milliseconds(640)), absl::Milliseconds(10));
  EXPECT_EQ(AnswerPace(absl::Hours(1)), absl::Milliseconds(50));
  EXPECT_EQ(CommandPace(absl::Milliseconds(160), absl::Milliseconds(1)), absl::Milliseconds(10));
  EXPECT_EQ(CommandPace(absl::Milliseconds(160), absl::Milliseconds(100)), absl::Milliseconds(200));
}

TEST(ProbePaceTest, ProbesOfOnePaceFallDueTogether) {
  const absl::Duration ms = absl::Milliseconds(1);
  EXPECT_EQ(AlignedWait(100 * ms, absl::Microseconds(500)), absl::Microseconds(500));
  EXPECT_EQ(AlignedWait(100.1 * ms, absl::Microseconds(500)), absl::Microseconds(400));
  EXPECT_EQ(AlignedWait(100.4 * ms, absl::Microseconds(500)), absl::Microseconds(100));
  EXPECT_EQ(101.3 * ms + AlignedWait(101.3 * ms, 1.7 * ms), 103 * ms);
}

TEST(ProbeBudgetTest, ABurstIsFreeAndThenTheShareHolds) {
  ProbeBudget budget(0.03, absl::Milliseconds(2));
  absl::Duration now = absl::Seconds(5);
  for (int i = 0; i < 10; ++i) budget.Charge(now, absl::Microseconds(190));
  EXPECT_EQ(budget.Wait(now), absl::ZeroDuration());
  for (int i = 0; i < 10; ++i) budget.Charge(now, absl::Microseconds(190));
  const absl::Duration wait = budget.Wait(now);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(wait), (3.8 + 20 * 0.0005 + 0.035 - 2) / 0.03, 0.1);
  EXPECT_EQ(budget.Wait(now + wait), absl::ZeroDuration());
  // Never more than the burst is saved up.
  now += absl::Hours(1);
  for (int i = 0; i < 11; ++i) budget.Charge(now, absl::Microseconds(190));
  EXPECT_GT(budget.Wait(now), absl::ZeroDuration());
}

}  // namespace
}  // namespace mayfly::local
