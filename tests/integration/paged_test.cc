// An engine's paged memory: published from one layout, read into another.

#include <numeric>
#include <random>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

using testing::HasSubstr;

constexpr uint32_t kLayers = 3;
constexpr uint32_t kTokens = 16;
constexpr uint32_t kHeads = 2;  // of one slice
constexpr uint32_t kHeadBytes = 64;
constexpr uint32_t kEngineBlocks = 12;

// One engine's KV: a buffer a layer, of all heads of `slices` slices.
class Engine {
 public:
  Engine(uint32_t slices, bool heads_first)
      : heads_(slices * kHeads), heads_first_(heads_first) {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      layers_.emplace_back(size_t{2} * kEngineBlocks * kTokens * heads_ *
                           kHeadBytes);
    }
  }

  void Randomise(uint64_t seed) {
    std::mt19937_64 random(seed);
    for (auto& layer : layers_) {
      for (std::byte& byte : layer) byte = static_cast<std::byte>(random());
    }
  }

  PagedMemory Describe(const GroupSpec& group, uint32_t slice_first,
                       uint32_t slice_count) {
    PagedOptions options;
    options.block_count = kEngineBlocks;
    options.slice_first = slice_first;
    options.slice_count = slice_count;
    const int64_t block = int64_t{kTokens} * heads_ * kHeadBytes;
    for (auto& layer : layers_) {
      options.layers.push_back(
          heads_first_ ? PagedLayer{layer.data(), block, 2 * block, kHeadBytes,
                                    int64_t{kTokens} * kHeadBytes}
                       : PagedLayer{layer.data(), block * kEngineBlocks, block,
                                    int64_t{heads_} * kHeadBytes, kHeadBytes});
    }
    auto memory = PagedMemory::Create(group, options);
    EXPECT_THAT(memory, IsOk());
    return *std::move(memory);
  }

  // The bytes of one head of one token.
  std::string Head(uint32_t layer, uint32_t kv, uint32_t block, uint32_t token,
                   uint32_t head) const {
    const size_t at =
        heads_first_
            ? (((size_t{block} * 2 + kv) * heads_ + head) * kTokens + token)
            : (((size_t{kv} * kEngineBlocks + block) * kTokens + token) *
                   heads_ +
               head);
    return std::string(
        reinterpret_cast<const char*>(layers_[layer].data()) + at * kHeadBytes,
        kHeadBytes);
  }
  bool SameBlock(const Engine& other, uint32_t block, uint32_t other_block,
                 uint32_t tokens = kTokens) const {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      for (uint32_t kv = 0; kv < 2; ++kv) {
        for (uint32_t token = 0; token < tokens; ++token) {
          for (uint32_t head = 0; head < heads_; ++head) {
            if (Head(layer, kv, block, token, head) !=
                other.Head(layer, kv, other_block, token, head)) {
              return false;
            }
          }
        }
      }
    }
    return true;
  }

 private:
  uint32_t heads_;
  bool heads_first_;
  std::vector<std::vector<std::byte>> layers_;
};

class PagedTest : public ClientFixture {
 protected:
  void SetUp() override { StartDaemon(); }

  static NamespaceSpec PagedSpec(uint32_t slices) {
    NamespaceSpec spec = Spec();
    spec.groups[0] = GroupSpec{.block_tokens = kTokens,
                               .layer_count = kLayers,
                               .head_count = kHeads,
                               .head_bytes = kHeadBytes,
                               .slice_count = slices};
    return spec;
  }
};

TEST_F(PagedTest, WhatOneEngineFillsAnotherWithOtherStridesReads) {
  const NamespaceSpec spec = PagedSpec(1);
  auto client = Attach(Options(spec));
  Engine prefill(1, /*heads_first=*/false);
  prefill.Randomise(1);
  Engine decode(1, /*heads_first=*/true);
  const PagedMemory from = prefill.Describe(spec.groups[0], 0, 1);
  const PagedMemory to = decode.Describe(spec.groups[0], 0, 1);

  const std::vector<BlockKey> keys = Keys(0, 4);
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, keys), IsOkAndHolds(0));
  const std::vector<uint64_t> source = {7, kNoEngineBlock, 2, 9};
  EXPECT_THAT(publication->Fill(0, from, source), IsOkAndHolds(3));
  const std::vector<uint64_t> second = {5};
  EXPECT_THAT(publication->Fill(1, from, second), IsOkAndHolds(1));
  ASSERT_THAT(publication->CommitAndWait(0, 4), IsOk());
  // Committed: there is nothing left to fill.
  EXPECT_THAT(publication->Fill(0, from, source), IsOkAndHolds(0));

  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  ASSERT_EQ(prefix.block_count(), 4);
  const std::vector<uint64_t> target = {1, 11, 0};
  ASSERT_THAT(prefix.CopyTo(to, 0, 1, target), IsOk());
  EXPECT_TRUE(prefill.SameBlock(decode, 5, 1));
  EXPECT_TRUE(prefill.SameBlock(decode, 2, 11));
  EXPECT_TRUE(prefill.SameBlock(decode, 9, 0));
  EXPECT_FALSE(prefill.SameBlock(decode, 7, 2));
  const std::vector<uint64_t> one = {2};
  ASSERT_THAT(prefix.CopyTo(to, 0, 0, one, /*last_tokens=*/5), IsOk());
  EXPECT_TRUE(prefill.SameBlock(decode, 7, 2, 5));
  EXPECT_FALSE(prefill.SameBlock(decode, 7, 2, 6));
}

TEST_F(PagedTest, RanksFillTheirSlicesAndOneReaderTakesAll) {
  const NamespaceSpec spec = PagedSpec(2);
  Engine whole(2, false);
  whole.Randomise(2);
  const std::vector<BlockKey> keys = Keys(0, 5);
  std::vector<uint64_t> blocks(keys.size());
  std::iota(blocks.begin(), blocks.end(), 3);
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<Publication> publications;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    clients.push_back(Attach(Options(spec)));
    PublicationOptions options;
    options.engine_instance = 1;
    options.publication = 2;
    options.slice_first = rank;
    options.slice_count = 1;
    auto publication = clients.back()->OpenPublication(options);
    ASSERT_THAT(publication, IsOk());
    publications.push_back(*std::move(publication));
  }
  // The memory has both slices, a rank fills its own.
  const PagedMemory memory = whole.Describe(spec.groups[0], 0, 2);
  for (Publication& publication : publications) {
    ASSERT_THAT(publication.Begin(0, {}, keys), IsOkAndHolds(0));
    EXPECT_THAT(publication.Fill(0, memory, blocks), IsOkAndHolds(5));
    ASSERT_THAT(publication.CommitAndWait(0, 5), IsOk());
  }
  auto reader = Attach(Options(spec));
  Engine decode(2, true);
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, StreamOptions(), &stream), IsOk());
  const std::vector<uint64_t> target = {4, 3, 2, 1, 0};
  ASSERT_THAT(stream.PullTo({}, decode.Describe(spec.groups[0], 0, 2), target,
                            absl::Now() + absl::Seconds(10)),
              IsOk());
  for (uint32_t i = 0; i < 5; ++i) {
    EXPECT_TRUE(whole.SameBlock(decode, 3 + i, 4 - i)) << i;
  }
}

TEST_F(PagedTest, MemoryOfAnotherShapeIsRefused) {
  const NamespaceSpec spec = PagedSpec(1);
  auto client = Attach(Options(spec));
  Engine engine(1, false);
  const PagedMemory memory = engine.Describe(spec.groups[0], 0, 1);
  GroupSpec other = spec.groups[0];
  std::swap(other.head_count, other.kv_count);  // the same bytes a page
  other.head_count = 1;
  other.kv_count = 2;
  other.head_bytes = kHeads * kHeadBytes;
  const PagedMemory unlike = engine.Describe(other, 0, 1);

  const std::vector<BlockKey> keys = Keys(0, 2);
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, keys), IsOkAndHolds(0));
  const std::vector<uint64_t> blocks = {0, 1};
  EXPECT_THAT(publication->Fill(0, unlike, blocks).status().message(),
              HasSubstr("16 tokens x 1 heads x 128 bytes"));
  EXPECT_THAT(publication->Fill(1, memory, blocks).status().message(),
              HasSubstr("positions [1, +2), the publication has 2"));
  const std::vector<uint64_t> beyond = {0, kEngineBlocks};
  EXPECT_THAT(publication->Fill(0, memory, beyond).status().message(),
              HasSubstr("engine block 12, the memory has 12"));
  EXPECT_THAT(publication->Fill(0, memory, blocks), IsOkAndHolds(2));
  ASSERT_THAT(publication->CommitAndWait(0, 2), IsOk());

  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_THAT(prefix.CopyTo(unlike, 0, 0, blocks).message(),
              HasSubstr("the memory is of"));
  EXPECT_THAT(prefix.CopyTo(memory, 0, 1, blocks).message(),
              HasSubstr("positions [1, +2) of group 0, pinned are [0, +2)"));
  EXPECT_THAT(prefix.CopyTo(memory, 1, 0, blocks).message(),
              HasSubstr("group 1"));
  PrefixStream stream;
  const absl::Time soon = absl::Now() + absl::Seconds(10);
  ASSERT_THAT(client->Match(keys, StreamOptions(), &stream), IsOk());
  EXPECT_THAT(stream.PullTo({}, memory, beyond, soon).message(),
              HasSubstr("engine block 12"));
  EXPECT_THAT(stream.PullTo({}, unlike, blocks, soon).message(),
              HasSubstr("the memory is of"));
  EXPECT_THAT(
      stream.PullTo({}, memory, std::span(blocks).first(1), soon).message(),
      HasSubstr("1 engine blocks for 2 keys"));
  EXPECT_THAT(stream.PullTo({}, memory, blocks, soon), IsOk());
}

TEST_F(PagedTest, AClearedNamespaceHasNothing) {
  auto writer = Attach();
  AttachOptions options = Options();
  options.publish = false;
  auto reader = Attach(options);
  const std::vector<BlockKey> keys = Keys(0, 8);
  ASSERT_THAT(Publish(writer.get(), keys), IsOkAndHolds(8));
  PinnedPrefix held;
  ASSERT_THAT(reader->Match(keys, &held), IsOk());
  ASSERT_EQ(held.block_count(), 8);
  auto in_flight = writer->OpenPublication();
  ASSERT_THAT(in_flight, IsOk());
  ASSERT_THAT(in_flight->Begin(0, {}, Keys(100, 2)), IsOkAndHolds(0));

  const absl::Status refused = reader->Clear().status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied) << refused;
  EXPECT_TRUE(PagesAreRight(held, keys));
  const auto before = Admin()->Namespaces();
  ASSERT_THAT(before, IsOk());
  const auto epoch = writer->Clear();
  ASSERT_THAT(epoch, IsOk());
  EXPECT_GT(*epoch, (*before)[0].content_epoch);

  // What is held keeps its bytes; nobody finds it any more.
  EXPECT_TRUE(PagesAreRight(held, keys));
  PinnedPrefix prefix;
  ASSERT_THAT(writer->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  ASSERT_THAT(in_flight->CommitAndWait(0, 2), IsOk());
  EXPECT_EQ(in_flight->outcome(0), BlockOutcome::kVoid);
  // And it fills again.
  ASSERT_THAT(Publish(writer.get(), keys), IsOkAndHolds(8));
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_TRUE(PagesAreRight(prefix, keys));
}

}  // namespace
}  // namespace kvferry::test
