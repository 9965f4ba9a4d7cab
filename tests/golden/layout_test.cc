// Goal    The shared layout is what it was: a client built against this version
//         reads what any daemon of this layout version wrote.
// Method  Each structure is filled through its fields and compared, byte for
//         byte, with bytes written down here. A change of one of these tests is
//         a change of kLayoutVersion.

#include <cstring>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::protocol {
namespace {

template <typename T>
std::string Bytes(const T& object, size_t from, size_t to) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(&object) + from, to - from));
}

// Hex written with spaces for the eye.
std::string Golden(std::string spaced) {
  return absl::StrReplaceAll(spaced, {{" ", ""}, {"\n", ""}});
}

TEST(LayoutTest, VersionThree) { EXPECT_EQ(kLayoutVersion, 3u); }

TEST(LayoutTest, ResidenceWord) {
  const Residence ready{ResidenceState::kReady, 0x0abc'def1, 0x1234'5678};
  EXPECT_EQ(PackResidence(ready), 0x1234'5678'55e6'f78aULL);
  EXPECT_EQ(UnpackResidence(0x1234'5678'55e6'f78aULL), ready);
  const Residence last{ResidenceState::kRetiring, kBlocksMax, 0xffff'ffff};
  EXPECT_EQ(PackResidence(last), 0xffff'ffff'7fff'fffbULL);
  EXPECT_EQ(UnpackResidence(PackResidence(last)), last);
  EXPECT_EQ(PackResidence({}), 0u);
}

TEST(LayoutTest, PublicationRefWord) {
  const PublicationRef ref{0x1234'5678, 0x0000'abcd, 0x0ef};
  EXPECT_EQ(PackPublicationRef(ref), 0x1234'5678'0abc'd0efULL);
  EXPECT_EQ(UnpackPublicationRef(0x1234'5678'0abc'd0efULL), ref);
  const PublicationRef last{0xffff'ffff, 0xf'ffff, 4095};
  EXPECT_EQ(PackPublicationRef(last), ~uint64_t{0});
  EXPECT_EQ(UnpackPublicationRef(~uint64_t{0}), last);
  EXPECT_FALSE(UnpackPublicationRef(0).followable());
}

TEST(LayoutTest, WriterRefWord) {
  EXPECT_EQ(PackWriterRef({0x12, 0x34}), 0x1234);
  EXPECT_EQ(UnpackWriterRef(0x1234), (WriterRef{0x12, 0x34}));
  // No record has the number that would make a writer look like none.
  EXPECT_EQ(PackWriterRef({0xff, 0xff}), kNoWriter);
  EXPECT_LE(kProgressRecords, 0xffu);
}

TEST(LayoutTest, ProgressWord) {
  const Progress progress{7, 128, 12};
  EXPECT_EQ(PackProgress(progress), 0x0000'0007'0008'000cULL);
  EXPECT_EQ(UnpackProgress(0x0000'0007'0008'000cULL), progress);
  const Progress last{0xffff'ffff, 0xf'ffff, 4095};
  EXPECT_EQ(PackProgress(last), ~uint64_t{0});
  EXPECT_EQ(UnpackProgress(~uint64_t{0}), last);
}

TEST(LayoutTest, BlockStateWord) {
  const BlockStateWord granted{BlockState::kGranted, 0x0102, 0x0304'0506};
  EXPECT_EQ(PackBlockState(granted), 0x0304'0506'0102'0002ULL);
  EXPECT_EQ(UnpackBlockState(0x0304'0506'0102'0002ULL), granted);
}

TEST(LayoutTest, BucketColumns) {
  Bucket bucket{};
  bucket.key_lo[0] = 0x0807060504030201;
  bucket.key_lo[7] = 0x11;
  bucket.key_hi[1] = 0x22;
  bucket.host[2] = 0x33;
  bucket.gpu[3] = 0x44;
  bucket.aux[4] = 0x55;
  EXPECT_EQ(Bytes(bucket, 0, 8), "0102030405060708");
  EXPECT_EQ(Bytes(bucket, 56, 64), "1100000000000000");
  EXPECT_EQ(Bytes(bucket, 72, 80), "2200000000000000");
  EXPECT_EQ(Bytes(bucket, 144, 152), "3300000000000000");
  EXPECT_EQ(Bytes(bucket, 216, 224), "4400000000000000");
  EXPECT_EQ(Bytes(bucket, 288, 296), "5500000000000000");
}

TEST(LayoutTest, IndexHeader) {
  static IndexHeader header{};
  header.magic = kIndexMagic;
  header.layout_version = kLayoutVersion;
  header.group_count = 2;
  header.epoch = 0x0102030405060708;
  header.namespace_id = 3;
  header.block_capacity = 4;
  header.bucket_count = 5;
  header.content_epoch = 6;
  header.fingerprint[0] = 0xaa;
  header.salt[31] = 0xbb;
  header.groups[0].block_tokens = 16;
  header.groups[0].slice_count = 8;
  header.groups[0].page_bytes = 65536;
  header.groups[0].stride_bytes = 524288;
  header.groups[0].first_block = 1;
  header.groups[0].block_count = 2;
  header.groups[0].blocks_per_segment = 2048;
  header.groups[0].hit_rule = 1;
  header.groups[0].trailing_blocks = 9;
  header.groups[0].layer_count = 32;
  header.groups[0].kv_count = 2;
  header.groups[0].head_count = 1;
  header.groups[0].head_bytes = 256;
  header.host_blocks = 0x0a0b;
  header.gpu_pool_count = 1;
  header.coarse_now_ms = 77;
  header.daemon_asleep = 1;
  EXPECT_EQ(Bytes(header, 0, 48), Golden("4b5646494e444558 03000000 02000000"
                                         "0807060504030201 0300000000000000"
                                         "04000000 05000000"
                                         "0600000000000000"));
  EXPECT_EQ(Bytes(header, 112, 120), Golden("0b0a0000 01000000"));
  EXPECT_EQ(Bytes(header, 48, 49), "aa");
  EXPECT_EQ(Bytes(header, 111, 112), "bb");
  EXPECT_EQ(Bytes(header, 224, 288),
            Golden("10000000 08000000 0000010000000000 0000080000000000"
                   "01000000 02000000 00080000 01000000 09000000 20000000"
                   "02000000 01000000 00010000 00000000"));
  EXPECT_EQ(offsetof(IndexHeader, coarse_now_ms), 1280u);
  EXPECT_EQ(offsetof(IndexHeader, daemon_asleep), 1344u);
  EXPECT_EQ(Bytes(header, 1280, 1284), "4d000000");
  EXPECT_EQ(offsetof(IndexHeader, gpu_pools), 1408u);
  EXPECT_EQ(sizeof(IndexHeader), 3456u);
}

TEST(LayoutTest, GpuPoolRecord) {
  static GpuPoolRecord pool{};
  pool.device_uuid[0] = 0xaa;
  pool.device_uuid[15] = 0xbb;
  pool.group = 1;
  pool.device = 2;
  pool.first_block = 0x01020304;
  pool.block_count = 3;
  pool.incarnation = 5;
  EXPECT_EQ(Bytes(pool, 0, 36),
            Golden("aa00000000000000 00000000000000bb"
                   "01000000 02000000 04030201 03000000 05000000"));
}

TEST(LayoutTest, SubmitRecords) {
  SubmitRecord open{};
  open.type = static_cast<uint8_t>(SubmitType::kOpen);
  open.handle = 0x01020304;
  open.open = {5, 6, 7, 30000, kOpenStandby};
  EXPECT_EQ(Bytes(open, 0, 40), Golden("01 00 0000 04030201"
                                       "0500000000000000 0600000000000000"
                                       "0700000000000000"
                                       "30750000 01000000"));
  SubmitRecord begin{};
  begin.type = static_cast<uint8_t>(SubmitType::kBegin);
  begin.group = 3;
  begin.pool = 4;
  begin.handle = 1;
  begin.begin = {2, 64, 0x11, 0x22};
  EXPECT_EQ(Bytes(begin, 0, 32), Golden("02 03 04 00 01000000"
                                        "02000000 40000000"
                                        "1100000000000000 2200000000000000"));
  SubmitRecord block{};
  block.type = static_cast<uint8_t>(SubmitType::kBeginBlock);
  block.begin_block = {0x11, 0x22, kNoBlock, 9};
  EXPECT_EQ(Bytes(block, 0, 32), Golden("03 00 0000 00000000"
                                        "1100000000000000 2200000000000000"
                                        "ffffffff 09000000"));
  SubmitRecord give{};
  give.type = static_cast<uint8_t>(SubmitType::kReturn);
  give.give_back.count = 2;
  give.give_back.blocks[0] = 7;
  give.give_back.blocks[11] = 8;
  EXPECT_EQ(Bytes(give, 0, 16),
            Golden("06 00 0000 00000000 02000000 07000000"));
  EXPECT_EQ(Bytes(give, 56, 60), "08000000");
}

TEST(LayoutTest, ReplyRecord) {
  ReplyRecord reply{};
  reply.type = static_cast<uint8_t>(ReplyType::kAnswerBlocks);
  reply.group = 1;
  reply.answer = static_cast<uint8_t>(PublishAnswer::kYours);
  reply.pool = 5;
  reply.handle = 2;
  reply.first = 3;
  reply.count = 12;
  reply.blocks[11] = 4;
  EXPECT_EQ(Bytes(reply, 0, 16),
            Golden("02 01 01 05 02000000 03000000 0c000000"));
  EXPECT_EQ(Bytes(reply, 60, 64), "04000000");

  ReplyRecord opened{};
  opened.type = static_cast<uint8_t>(ReplyType::kOpened);
  opened.handle = 2;
  opened.first = 4095;
  opened.count = 0x01020304;
  opened.blocks[0] = 254;
  EXPECT_EQ(Bytes(opened, 0, 20),
            Golden("05 00 00 00 02000000 ff0f0000 04030201 fe000000"));
  ReplyRecord standby{};
  standby.answer = static_cast<uint8_t>(PublishAnswer::kStandby);
  EXPECT_EQ(Bytes(standby, 0, 4), Golden("00 00 07 00"));
}

TEST(LayoutTest, PublicationRecord) {
  static PublicationRecord record{};
  record.generation = 0x01020304;
  record.phase = static_cast<uint32_t>(PublicationPhase::kEnded);
  record.changes = 5;
  record.begun = 6;
  record.started_ms = 7;
  record.writers[0] = PackWriterRef({0x12, 0x34});
  record.writers[63] = kNoWriter;
  EXPECT_EQ(Bytes(record, 0, 20),
            Golden("04030201 02000000 05000000 06000000 07000000"));
  EXPECT_EQ(Bytes(record, 64, 68), "34120000");
  EXPECT_EQ(Bytes(record, 190, 192), "ffff");
  EXPECT_EQ(sizeof(PublicationRecord), 192u);
  EXPECT_EQ(static_cast<uint32_t>(PublicationPhase::kOpen), 1u);
  EXPECT_EQ(kPublicationSlots, 4096u);
  EXPECT_EQ(PublicationsOffset(10), 4096u + 10 * 320);
  EXPECT_EQ(IndexFileBytes(10), 4096u + 10 * 320 + 4096 * 192);
}

TEST(LayoutTest, ProgressFile) {
  static ProgressHeader header{};
  header.magic = kProgressMagic;
  header.layout_version = kLayoutVersion;
  header.session = 3;
  header.epoch = 4;
  EXPECT_EQ(Bytes(header, 0, 24), Golden("4b56465047524553 03000000 03000000"
                                         "0400000000000000"));
  static ProgressRecord record{};
  record.word = PackProgress({7, 128, 12});
  record.chunk_end = 0x01020304;
  record.changes = 5;
  record.given_up = 6;
  record.hand_over_bytes = 4096;
  EXPECT_EQ(Bytes(record, 0, 24), Golden("0c00080007000000 04030201 05000000"
                                         "06000000 00100000"));
  EXPECT_EQ(sizeof(ProgressRecord), 64u);
  EXPECT_EQ(kProgressRecords, 255u);
  EXPECT_EQ(kHandOverBytesMax, 4096u);
  EXPECT_EQ(kProgressRecordsOffset, 4096u);
  EXPECT_EQ(kHandOverOffset, 4096u + 256 * 64);
  EXPECT_EQ(kProgressFileBytes, 4096u + 256 * 64 + 255 * 4096);
}

TEST(LayoutTest, SessionHeadersAndOffsets) {
  static SessionClientHeader client{};
  client.magic = kClientMagic;
  client.submit_tail = 1;
  client.reply_consumed = 2;
  client.reply_waiters = 3;
  client.touch_tail = 4;
  client.match_calls = 5;
  EXPECT_EQ(Bytes(client, 0, 8), Golden("4b56464c49454e54"));
  EXPECT_EQ(Bytes(client, 64, 72), "0100000000000000");
  EXPECT_EQ(Bytes(client, 128, 140), Golden("0200000000000000 03000000"));
  EXPECT_EQ(Bytes(client, 192, 208),
            Golden("0400000000000000 0500000000000000"));
  static SessionDaemonHeader daemon{};
  daemon.magic = kDaemonMagic;
  daemon.revoked = 1;
  daemon.reply_futex = 2;
  daemon.reply_tail = 3;
  daemon.submit_consumed = 4;
  EXPECT_EQ(Bytes(daemon, 0, 8), Golden("4b564641454d4f4e"));
  EXPECT_EQ(Bytes(daemon, 24, 28), "01000000");
  EXPECT_EQ(Bytes(daemon, 64, 80), Golden("02000000 00000000"
                                          "0300000000000000"));
  EXPECT_EQ(Bytes(daemon, 128, 136), "0400000000000000");
  EXPECT_EQ(kSubmitRingOffset, 4096u);
  EXPECT_EQ(kTouchRingOffset, 4096u + 4096 * 64);
  EXPECT_EQ(kPinsOffset, 4096u + 4096 * 64 + 1024 * 32);
  EXPECT_EQ(SessionClientFileBytes(1000),
            (kPinsOffset + 2000 + 4095) / 4096 * 4096);
  EXPECT_EQ(kSessionDaemonFileBytes, 4096u + 4096 * 64);
}

TEST(LayoutTest, BucketsOfAKey) {
  EXPECT_EQ(BucketsOf(0, 0, 100).first, 0u);
  EXPECT_EQ(BucketsOf(0, 0, 100).second, 1u);  // never the same twice
  EXPECT_EQ(BucketsOf(~uint64_t{0}, ~uint64_t{0}, 100).first, 99u);
  EXPECT_EQ(BucketsOf(~uint64_t{0}, ~uint64_t{0}, 100).second, 0u);
  EXPECT_EQ(BucketsOf(uint64_t{1} << 63, 0, 100).first, 50u);
  EXPECT_EQ(BucketCountFor(1), 2u);
  EXPECT_EQ(BucketCountFor(1u << 20), 218454u);
}

}  // namespace
}  // namespace kvferry::protocol
