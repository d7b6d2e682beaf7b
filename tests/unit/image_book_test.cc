// What images stand for in one environment, with a registry that answers when a test says so.
#include "server/engine/kubernetes/image_book.h"

#include <deque>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace mayfly::kubernetes {
namespace {

using registry::Image;
using registry::ImageConfig;
using testing::ElementsAre;
using testing::HasSubstr;

const std::string kOld = "sha256:" + std::string(64, 'a');
const std::string kNew = "sha256:" + std::string(64, 'b');

class ImageBookTest : public testing::Test {
 protected:
  struct Question {
    registry::Reference reference;
    bool with_config;
    registry::RegistryClient::Done done;
  };

  ImageBook Make(std::map<std::string, std::string> known = {}) {
    ImageBook::Source source;
    source.prefix = "r.example/team";
    source.resolve = [this](const registry::Reference& reference, bool with_config,
                            registry::RegistryClient::Done done) {
      questions_.push_back({reference, with_config, std::move(done)});
    };
    return ImageBook(std::move(source), std::move(known), [this](const auto& digests) {
      ++told_;
      digests_ = digests;
    });
  }
  void Answer(absl::StatusOr<Image> image) {
    Question question = std::move(questions_.front());
    questions_.pop_front();
    question.done(std::move(image));
  }
  static ProcessSpec Process(const std::string& image, std::vector<std::string> argv = {"run"}) {
    ProcessSpec process;
    process.image = image;
    process.argv = std::move(argv);
    return process;
  }
  std::function<void(ResolvedProcess)> Take() {
    return [this](ResolvedProcess resolved) { got_.push_back(std::move(resolved)); };
  }

  std::deque<Question> questions_;
  std::map<std::string, std::string> digests_;
  int told_ = 0;
  std::vector<ResolvedProcess> got_;
};

TEST_F(ImageBookTest, ANameIsAskedForOnceAndMeansTheSameFromThenOn) {
  ImageBook book = Make();
  book.Expect({"web:1"});
  book.Resolve(Process("web:1"), Take());
  ASSERT_EQ(1u, questions_.size());
  EXPECT_EQ("team/web", questions_[0].reference.repository);
  EXPECT_TRUE(got_.empty());
  Answer(Image{kOld, {}});
  book.Resolve(Process("web:1"), Take());
  ASSERT_EQ(2u, got_.size());
  for (const ResolvedProcess& each : got_) EXPECT_EQ("r.example/team/web@" + kOld, each.process.image);
  EXPECT_TRUE(questions_.empty());
  EXPECT_EQ(1, told_);
  EXPECT_EQ((std::map<std::string, std::string>{{"web:1", kOld}}), digests_);
  EXPECT_THAT(got_[0].note, HasSubstr("pinned to " + kOld));
}

TEST_F(ImageBookTest, WhatIsResolvedGoesFirst) {
  ImageBook book = Make();
  book.Resolve(Process("slow:1"), Take());
  book.Resolve(Process("quick:1"), Take());
  std::swap(questions_[0], questions_[1]);
  Answer(Image{kOld, {}});
  ASSERT_EQ(1u, got_.size());
  EXPECT_THAT(got_[0].process.image, HasSubstr("quick"));
  Answer(Image{kNew, {}});
  EXPECT_EQ(2u, got_.size());
  EXPECT_EQ(2, told_);
}

TEST_F(ImageBookTest, WhatWasPinnedBeforeIsNotAskedFor) {
  ImageBook book = Make({{"web:1", kOld}, {"new:1", ""}});
  book.Resolve(Process("web:1"), Take());
  ASSERT_EQ(1u, got_.size());
  EXPECT_EQ("r.example/team/web@" + kOld, got_[0].process.image);
  EXPECT_TRUE(questions_.empty());
}

TEST_F(ImageBookTest, ARegistryThatCannotBeReadFromHereLeavesTheTag) {
  for (const absl::Status& why : {absl::UnavailableError("no way there"), absl::UnauthenticatedError("who are you"),
                                  absl::DataLossError("other content")}) {
    ImageBook book = Make();
    book.Resolve(Process("web:1"), Take());
    Answer(why);
    ASSERT_FALSE(got_.empty());
    EXPECT_TRUE(got_.back().refused.empty());
    EXPECT_EQ("web:1", got_.back().process.image);
    EXPECT_THAT(got_.back().note, HasSubstr("web:1"));
    EXPECT_THAT(got_.back().note, HasSubstr(std::string(why.message())));
  }
}

TEST_F(ImageBookTest, WhatTheClusterWouldFindOutIsKnownSooner) {
  const std::map<CauseCode, absl::Status> cases = {
      {CauseCode::kImageNotFound, absl::NotFoundError("the registry has no such image")},
      {CauseCode::kRegistryAccess, absl::PermissionDeniedError("it refuses user 'x'")}};
  for (const auto& [code, why] : cases) {
    ImageBook book = Make();
    book.Resolve(Process("web:1"), Take());
    Answer(why);
    EXPECT_EQ(code, got_.back().refused.code);
    EXPECT_THAT(got_.back().refused.message, HasSubstr("r.example/team/web:1"));
  }
  ImageBook book = Make();
  book.Resolve(Process("Not A Name"), Take());
  EXPECT_EQ(CauseCode::kImageName, got_.back().refused.code);
}

TEST_F(ImageBookTest, AnImagesOwnCommandIsThatOfThePinnedContent) {
  ImageBook book = Make();
  book.Resolve(Process("web:1", {}), Take());
  Answer(Image{kOld, {}});
  ASSERT_EQ(1u, questions_.size());
  EXPECT_TRUE(questions_[0].with_config);
  EXPECT_EQ(kOld, questions_[0].reference.digest);
  Answer(Image{kOld, ImageConfig{{"/web", "-v"}, {}, "/srv", "1000:1000"}});
  ASSERT_EQ(1u, got_.size());
  EXPECT_THAT(got_[0].process.argv, ElementsAre("/web", "-v"));
  EXPECT_EQ("/srv", got_[0].process.image_workdir);
  EXPECT_EQ("1000", got_[0].process.user);
}

TEST_F(ImageBookTest, AnImageWithoutCommandThatAnybodyKnowsIsRefusedWithWhatToDo) {
  ImageBook book = Make();
  book.Resolve(Process("web:1", {}), Take());
  Answer(absl::UnavailableError("no way there"));
  Answer(absl::UnavailableError("no way there"));
  ASSERT_EQ(1u, got_.size());
  EXPECT_EQ(CauseCode::kRegistryUnreachable, got_[0].refused.code);
  EXPECT_THAT(got_[0].refused.hint, HasSubstr("`run:`"));
  book.Resolve(Process("bare:1", {}), Take());
  Answer(Image{kOld, {}});
  Answer(Image{kOld, ImageConfig()});
  EXPECT_EQ(CauseCode::kCommandNotFound, got_[1].refused.code);
}

TEST_F(ImageBookTest, AnAnswerAfterTheEndFindsNobody) {
  {
    ImageBook book = Make();
    book.Resolve(Process("web:1"), Take());
  }
  Answer(Image{kOld, {}});
  EXPECT_TRUE(got_.empty());
}

}  // namespace
}  // namespace mayfly::kubernetes
