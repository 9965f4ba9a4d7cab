#include "protocol/worker_framing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "protocol/framing.h"
#include "tests/support/status_matchers.h"

namespace kvferry::protocol {
namespace {

using test::IsOk;
using test::StatusIs;

worker::MakePoolT SomePool() {
  worker::MakePoolT make;
  make.pool_id = 7;
  make.bytes = 4096;
  make.mode = worker::ExportMode::Ipc;
  return make;
}

TEST(WorkerFramingTest, AMessageComesBackAsItWas) {
  const auto bytes = EncodeWorkerMessage(MakeWorkerMessage(SomePool()));
  ASSERT_THAT(bytes, IsOk());

  const auto message = DecodeWorkerMessage(*bytes);

  ASSERT_THAT(message, IsOk());
  ASSERT_NE(message->body.AsMakePool(), nullptr);
  EXPECT_EQ(message->body.AsMakePool()->pool_id, 7u);
  EXPECT_EQ(message->body.AsMakePool()->bytes, 4096u);
  EXPECT_EQ(message->body.AsMakePool()->mode, worker::ExportMode::Ipc);
}

TEST(WorkerFramingTest, AMessageOfTheControlProtocolIsNone) {
  const auto bytes = EncodeMessage(MakeMessage(1, wire::PokeT()));
  ASSERT_THAT(bytes, IsOk());

  EXPECT_THAT(DecodeWorkerMessage(*bytes),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal    Damaged messages are refused or understood, never more.
// Method  Every length of a message, and random bytes changed in it (seed 5).
TEST(WorkerFramingTest, DamageIsSurvived) {
  const auto bytes = EncodeWorkerMessage(MakeWorkerMessage(SomePool()));
  ASSERT_THAT(bytes, IsOk());
  for (size_t length = 0; length < bytes->size(); ++length) {
    EXPECT_FALSE(DecodeWorkerMessage(std::span(*bytes).first(length)).ok() &&
                 length < 8)
        << length;
  }
  std::mt19937 random(5);
  uint32_t refused = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::byte> damaged = *bytes;
    damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    refused += !DecodeWorkerMessage(damaged).ok();
  }
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace kvferry::protocol
