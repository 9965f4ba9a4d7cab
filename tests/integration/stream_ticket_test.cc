// Hand-overs: tickets for what is still being written, hand-over data, tails,
// and a sequence that grows while it is decoded.

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

using testing::HasSubstr;

class StreamTicketTest : public StreamFixture {
 protected:
  void SetUp() override {
    StreamFixture::SetUp();
    reader_ = Join();
    writer_ = Peer();
    ASSERT_NE(writer_, nullptr);
    ASSERT_THAT(writer_->Open(), IsOk());
  }
  // Redeems and follows.
  TicketContent Follow(const absl::StatusOr<Ticket>& ticket,
                       PrefixStream* stream) {
    EXPECT_THAT(ticket, IsOk());
    if (!ticket.ok()) return {};
    auto content = reader_->RedeemTicket(*ticket);
    EXPECT_THAT(content, IsOk());
    if (!content.ok()) return {};
    StreamOptions options;
    options.group = content->group;
    options.tail_tokens = content->tail_tokens;
    options.publication = content->publication;
    EXPECT_THAT(reader_->Match(content->keys, options, stream), IsOk());
    return *std::move(content);
  }

  std::unique_ptr<Client> reader_;
  std::unique_ptr<StreamPeer> writer_;
};

// Goal    A ticket names keys that nobody has begun; its reader waits for them
//         as the publication grows.
TEST_F(StreamTicketTest, ATicketIsFollowedBeforeItsKeysAreBegun) {
  const auto ticket = writer_->Mint(0, 30);
  PrefixStream stream;
  const TicketContent content = Follow(ticket, &stream);
  const std::vector<BlockKey> keys = Keys(0, 30);
  EXPECT_EQ(content.keys, keys);
  EXPECT_NE(content.publication.generation, 0);
  EXPECT_EQ(content.hand_over, "");
  EXPECT_EQ(stream.block_count(), 0);
  EXPECT_FALSE(stream.done());
  EXPECT_THAT(stream.WaitChunk(1, absl::Now() + absl::Milliseconds(20)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  for (uint32_t p = 0; p < 30; p += 10) {
    ASSERT_THAT(writer_->Begin(p, 10), IsOkAndHolds(p));
    ASSERT_THAT(writer_->Write(p, 10), IsOk());
    ASSERT_THAT(writer_->CommitLayers(p, 10, 3), IsOk());
    ASSERT_THAT(stream.WaitLayer(p + 10, 3, Soon()), IsOk());
    EXPECT_TRUE(LayersAreRight(stream, keys));
    ASSERT_THAT(writer_->Commit(p, 10), IsOk());
    ASSERT_THAT(stream.WaitChunk(p + 10, Soon()), IsOk());
    EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  }
  EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());

  // The daemon holds what has become ready for it.
  stream.Release();
  ASSERT_THAT(writer_->Close(), IsOk());
  auto evicted = Admin()->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 0);
  EXPECT_THAT(reader_->ReleaseTicket(*ticket), IsOk());
  EXPECT_THAT(reader_->RedeemTicket(*ticket),
              StatusIs(absl::StatusCode::kNotFound));
  evicted = Admin()->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 30);
}

TEST_F(StreamTicketTest, APublicationMayEndShorterThanItAnnounced) {
  const auto ticket = writer_->Mint(0, 20);
  PrefixStream stream;
  Follow(ticket, &stream);
  ASSERT_THAT(writer_->Begin(0, 14), IsOk());
  ASSERT_THAT(writer_->Produce(0, 14), IsOk());
  ASSERT_THAT(stream.WaitChunk(14, Soon()), IsOk());
  EXPECT_FALSE(stream.done());

  ASSERT_THAT(writer_->Close(), IsOk());
  EXPECT_THAT(stream.WaitChunk(20, Soon()),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_TRUE(stream.done());
  EXPECT_EQ(stream.ok_blocks(), 14);
  EXPECT_EQ(stream.Confirm(20), 14);
  EXPECT_TRUE(OkBlocksAreRight(stream, Keys(0, 20)));

  // Once more, with begun blocks that are never committed.
  ASSERT_THAT(writer_->Open(), IsOk());
  const auto second = writer_->Mint(100, 8);
  PrefixStream other;
  Follow(second, &other);
  ASSERT_THAT(writer_->Begin(100, 6), IsOk());
  ASSERT_THAT(writer_->Produce(0, 4), IsOk());
  ASSERT_THAT(other.WaitChunk(4, Soon()), IsOk());
  ASSERT_THAT(writer_->Close(), IsOk());
  EXPECT_THAT(other.WaitChunk(8, Soon()),
              testing::AnyOf(StatusIs(absl::StatusCode::kAborted),
                             StatusIs(absl::StatusCode::kNotFound)));
  EXPECT_EQ(other.ok_blocks(), 4);
}

TEST_F(StreamTicketTest, ATicketOfAPublisherThatDiesEndsItsStream) {
  const auto ticket = writer_->Mint(0, 20);
  PrefixStream stream;
  Follow(ticket, &stream);
  ASSERT_THAT(writer_->Begin(0, 6), IsOk());
  ASSERT_THAT(writer_->Produce(0, 6), IsOk());
  ASSERT_THAT(stream.WaitChunk(6, Soon()), IsOk());

  const absl::Time killed = absl::Now();
  writer_->Kill();
  EXPECT_THAT(stream.WaitChunk(20, Soon()),
              testing::AnyOf(StatusIs(absl::StatusCode::kAborted),
                             StatusIs(absl::StatusCode::kNotFound)));
  EXPECT_LT(absl::Now() - killed, kReleased);
  EXPECT_EQ(stream.ok_blocks(), 6);
  // The ticket still stands for what there is.
  const auto content = reader_->RedeemTicket(*ticket);
  ASSERT_THAT(content, IsOk());
  EXPECT_EQ(content->publication.generation, 0);
  EXPECT_EQ(content->keys.size(), 20);
}

// Goal    Who follows a ticket is told when its publisher has been given up for
//         standing still, also when it comes only then; and a publisher that
//         goes on and begins anew is followed again.
TEST_F(StreamTicketTest, ATicketOfAStalledPublisherEndsItsStreams) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(800);
  ASSERT_THAT(writer_->Open(options), IsOk());
  const auto ticket = writer_->Mint(0, 10);
  PrefixStream stream;
  Follow(ticket, &stream);
  ASSERT_THAT(writer_->Begin(0, 6), IsOk());
  ASSERT_THAT(writer_->Produce(0, 3), IsOk());
  ASSERT_THAT(stream.WaitChunk(3, Soon()), IsOk());
  ASSERT_THAT(writer_->Stop(), IsOk());
  EXPECT_THAT(stream.WaitChunk(10, absl::Now() + absl::Seconds(5)),
              testing::AnyOf(StatusIs(absl::StatusCode::kAborted),
                             StatusIs(absl::StatusCode::kNotFound)));
  EXPECT_EQ(stream.ok_blocks(), 3);

  PrefixStream late;
  const TicketContent content = Follow(ticket, &late);
  EXPECT_EQ(content.publication.generation, 0);
  EXPECT_THAT(late.WaitChunk(10, absl::Now() + absl::Seconds(5)),
              testing::AnyOf(StatusIs(absl::StatusCode::kAborted),
                             StatusIs(absl::StatusCode::kNotFound)));
  EXPECT_EQ(late.ok_blocks(), 3);

  writer_->Continue();
  ASSERT_THAT(writer_->CommitAndWait(3, 3), IsOk());
  EXPECT_THAT(writer_->Outcome(3), IsOkAndHolds(BlockOutcome::kVoid));
  ASSERT_THAT(writer_->Begin(3, 3), IsOkAndHolds(6));
  ASSERT_TRUE(AreComing(reader_.get(), Keys(0, 6)));
  PrefixStream again;
  Follow(ticket, &again);
  ASSERT_THAT(writer_->Produce(6, 3), IsOk());
  ASSERT_THAT(again.WaitChunk(6, Soon()), IsOk());
  ASSERT_THAT(writer_->Begin(6, 4), IsOkAndHolds(9));
  ASSERT_THAT(writer_->Produce(9, 4), IsOk());
  EXPECT_THAT(again.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(OkBlocksAreRight(again, Keys(0, 10)));
}

TEST_F(StreamTicketTest, HandOverDataComesLiveAndStaysWithTheTicket) {
  std::string data(4096, '\0');
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<char>(i * 31 + i / 256);
  }
  const auto ticket = writer_->Mint(0, 5);
  PrefixStream stream;
  Follow(ticket, &stream);
  EXPECT_THAT(stream.hand_over(), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(writer_->Begin(0, 5), IsOk());
  ASSERT_THAT(writer_->Produce(0, 4), IsOk());
  ASSERT_THAT(stream.WaitChunk(4, Soon()), IsOk());

  // The last call counts, and the next commit brings it.
  ASSERT_THAT(writer_->SetHandOver("first thought"), IsOk());
  ASSERT_THAT(writer_->SetHandOver(data), IsOk());
  ASSERT_THAT(writer_->Produce(4, 1), IsOk());
  ASSERT_THAT(stream.WaitChunk(5, Soon()), IsOk());
  EXPECT_THAT(stream.hand_over(), IsOkAndHolds(data));
  auto live = reader_->RedeemTicket(*ticket);
  ASSERT_THAT(live, IsOk());
  EXPECT_EQ(live->hand_over, data);

  ASSERT_THAT(writer_->Close(), IsOk());
  EXPECT_TRUE(Eventually([&] {
    live = reader_->RedeemTicket(*ticket);
    return live.ok() && live->publication.generation == 0;
  }));
  EXPECT_EQ(live->hand_over, data);
  writer_->Kill();
  live = reader_->RedeemTicket(*ticket);
  ASSERT_THAT(live, IsOk());
  EXPECT_EQ(live->hand_over, data);
}

TEST_F(StreamTicketTest, AKilledPublishersHandOverDataStayWithTheTicket) {
  const auto ticket = writer_->Mint(0, 4);
  PrefixStream stream;
  Follow(ticket, &stream);
  ASSERT_THAT(writer_->Begin(0, 4), IsOk());
  ASSERT_THAT(writer_->SetHandOver("token 17"), IsOk());
  ASSERT_THAT(writer_->Produce(0, 4), IsOk());
  ASSERT_THAT(stream.WaitChunk(4, Soon()), IsOk());
  writer_->Kill();
  EXPECT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_TRUE(Eventually([&] {
    const auto content = reader_->RedeemTicket(*ticket);
    return content.ok() && content->publication.generation == 0 &&
           content->hand_over == "token 17";
  }));
}

TEST_F(StreamTicketTest, DataMayBeGivenWithTheTicketItself) {
  const auto ticket = writer_->Mint(0, 3, /*tail_tokens=*/0, "known already");
  PrefixStream stream;
  const TicketContent content = Follow(ticket, &stream);
  EXPECT_EQ(content.hand_over, "known already");
  const std::string too_much(4097, 'x');
  TicketOptions options;
  options.hand_over = too_much;
  ASSERT_THAT(Publish(reader_.get(), Keys(50, 2)), IsOkAndHolds(2));
  EXPECT_THAT(reader_->MintTicket(0, Keys(50, 2), options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4096")));
  auto publication = reader_->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  EXPECT_THAT(publication->SetHandOver(too_much),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4096")));
}

TEST_F(StreamTicketTest, TicketsOfManyKeys) {
  constexpr uint32_t kBlocks = 5000;
  const auto in_flight = writer_->Mint(0, kBlocks);
  PrefixStream stream;
  const TicketContent content = Follow(in_flight, &stream);
  const std::vector<BlockKey> keys = Keys(0, kBlocks);
  ASSERT_EQ(content.keys, keys);
  for (uint32_t p = 0; p < kBlocks; p += 1000) {
    ASSERT_THAT(writer_->Begin(p, 1000), IsOkAndHolds(p));
    ASSERT_THAT(writer_->Produce(p, 1000), IsOk());
  }
  ASSERT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(stream.ok_blocks(), kBlocks);
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  stream.Release();
  EXPECT_THAT(reader_->ReleaseTicket(*in_flight), IsOk());

  // The same of blocks that are there.
  const auto later = reader_->MintTicket(0, keys);
  ASSERT_THAT(later, IsOk());
  EXPECT_LE(later->bytes.size(), 256);
  const auto again = reader_->RedeemTicket(*later);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->keys, keys);
  EXPECT_EQ(again->publication.generation, 0);
  const auto evicted = Admin()->Evict("model", "", kBlocks);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 0);
}

TEST_F(StreamTicketTest, TailsCountTheirValidTokens) {
  const std::vector<BlockKey> keys = Keys(0, 6);
  const auto ticket = writer_->Mint(0, 6, /*tail_tokens=*/5);
  PrefixStream stream;
  const TicketContent content = Follow(ticket, &stream);
  EXPECT_EQ(content.tail_tokens, 5);
  ASSERT_THAT(writer_->Begin(0, 6, /*tail_tokens=*/5), IsOkAndHolds(0));
  ASSERT_THAT(writer_->Produce(0, 5), IsOk());
  ASSERT_THAT(stream.WaitChunk(5, Soon()), IsOk());
  EXPECT_EQ(stream.ok_tokens(), 5 * kTokens);
  ASSERT_THAT(writer_->Produce(5, 1), IsOk());
  ASSERT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(stream.ok_tokens(), 5 * kTokens + 5);
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));

  PinnedPrefix prefix;
  const std::vector<GroupKeys> prompt = {{0, keys, 5}};
  ASSERT_THAT(reader_->Match(prompt, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 5 * kTokens + 5);
  EXPECT_EQ(prefix.block_count(), 6);
  // A tail that does not hit does not count.
  std::vector<BlockKey> other_end = keys;
  other_end.back() = NumberedKey(77);
  const std::vector<GroupKeys> elsewhere = {{0, other_end, 5}};
  ASSERT_THAT(reader_->Match(elsewhere, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 5 * kTokens);

  const auto looked = reader_->Lookup(prompt);
  ASSERT_THAT(looked, IsOk());
  EXPECT_EQ(looked->answer, LookupAnswer::kHit);
  EXPECT_EQ(looked->tokens, 5 * kTokens + 5);
}

// Goal    The next turn of a conversation hits what the last one generated.
// Method  Decode appends to its own publication of generated blocks, each when
//         it is full, and a tail at the end; a second reader follows both turns
//         and a third one comes with the whole conversation.
TEST_F(StreamTicketTest, TheNextTurnHitsWhatWasGenerated) {
  auto decode = Peer();
  const std::vector<BlockKey> conversation = Keys(0, 10);
  ASSERT_THAT(writer_->Begin(0, 6), IsOk());
  ASSERT_THAT(writer_->Write(0, 6), IsOk());
  ASSERT_THAT(writer_->CommitAndWait(0, 6), IsOk());
  ASSERT_THAT(decode->Match(0, 6), IsOk());
  ASSERT_THAT(decode->WaitChunk(6), IsOkAndHolds(6));

  // The prompt's own blocks are named again, so that what follows is chained.
  ASSERT_THAT(decode->Open(), IsOk());
  const auto ticket = decode->Mint(0, 10, /*tail_tokens=*/3);
  PrefixStream stream;
  Follow(ticket, &stream);
  ASSERT_THAT(decode->Begin(0, 6), IsOkAndHolds(0));
  for (uint32_t p = 6; p < 9; ++p) {
    ASSERT_THAT(decode->Begin(p, 1), IsOkAndHolds(p));
    ASSERT_THAT(decode->Produce(p, 1), IsOk());
    ASSERT_THAT(stream.WaitChunk(p + 1, Soon()), IsOk());
  }
  ASSERT_THAT(decode->Begin(9, 1, /*tail_tokens=*/3), IsOkAndHolds(9));
  ASSERT_THAT(decode->Produce(9, 1), IsOk());
  ASSERT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(stream.ok_tokens(), 9 * kTokens + 3);
  EXPECT_TRUE(OkBlocksAreRight(stream, conversation));
  ASSERT_THAT(decode->Close(), IsOk());
  ASSERT_THAT(writer_->Close(), IsOk());

  PinnedPrefix prefix;
  const std::vector<GroupKeys> second_turn = {{0, conversation, 3}};
  ASSERT_THAT(reader_->Match(second_turn, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 9 * kTokens + 3);
  const auto blocks =
      Admin()->Blocks("model", ToHex(conversation[6]).substr(0, 12), 2);
  ASSERT_THAT(blocks, IsOk());
  ASSERT_EQ(blocks->size(), 1);
  EXPECT_EQ((*blocks)[0].parent, conversation[5]);
}

}  // namespace
}  // namespace kvferry::test
