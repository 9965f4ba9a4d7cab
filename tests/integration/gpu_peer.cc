#include "tests/integration/gpu_peer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <random>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::test {
namespace {

constexpr char kVariable[] = "KVFERRY_GPU_PEER";
constexpr uint32_t kPromptKeys = 16;

// --- in the peer ---------------------------------------------------------

// One line: the status' code, then its message.
std::string Line(const absl::Status& status) {
  std::string message(status.message());
  for (char& c : message) {
    if (c == '\n') c = ' ';
  }
  return absl::StrCat(static_cast<int>(status.code()), " ", message);
}

std::string DoPublish(GpuEngine* engine, std::istream& arguments) {
  uint64_t n = 0;
  uint32_t count = 0;
  int residence = 0;
  GpuEngine::PublishHow how;
  arguments >> n >> count >> residence >> how.layers_a_part >>
      how.tail_tokens >> how.instance >> how.publication;
  how.residence = static_cast<BlockResidence>(residence);
  return Line(engine->Publish(n, count, how));
}

std::string DoPull(GpuEngine* engine, std::istream& arguments) {
  uint64_t n = 0;
  uint32_t count = 0;
  uint32_t tail = 0;
  uint32_t layers = 0;
  arguments >> n >> count >> tail >> layers;
  const auto pulled = engine->Pull(n, count, tail, layers);
  if (!pulled.ok()) return Line(pulled.status());
  return absl::StrCat("0 ", pulled->hit, " ", pulled->in_gpu, " ",
                      pulled->right, " ", Line(pulled->status));
}

[[noreturn]] void DoChurn(GpuEngine* engine, std::istream& arguments) {
  uint64_t seed = 0;
  uint32_t prompts = 1;
  arguments >> seed >> prompts;
  std::mt19937_64 random(seed);
  for (;;) {
    const uint64_t n = random() % prompts * kPromptKeys;
    if (random() % 2 == 0) {
      GpuEngine::PublishHow how;
      how.residence =
          random() % 4 == 0 ? BlockResidence::kHost : BlockResidence::kGpu;
      how.layers_a_part = random() % 2 == 0 ? 0 : 2;
      // Whatever becomes of it is a miss to others, or right.
      (void)engine->Publish(n, kPromptKeys, how);
      std::cout << "0 published" << std::endl;
      continue;
    }
    const auto pulled =
        engine->Pull(n, kPromptKeys, 0, random() % 2 == 0 ? 0 : 2);
    if (pulled.ok() && pulled->status.ok() && pulled->right != pulled->hit) {
      std::cout << Line(absl::DataLossError(absl::StrCat(
                       pulled->hit - pulled->right, " wrong of ", pulled->hit)))
                << std::endl;
    } else {
      std::cout << "0 pulled" << std::endl;
    }
  }
}

int RunPeer(const char* description) {
  std::istringstream arguments(description);
  GpuEngine::Options options;
  int order = 0;
  arguments >> options.socket_path >> options.group >> order >>
      options.blocks >> options.slice_first >> options.slice_count >>
      options.register_host_memory;
  options.order = static_cast<EngineOrder>(order);
  auto engine = GpuEngine::Start(options);
  std::cout << Line(engine.status()) << std::endl;
  if (!engine.ok()) return 1;
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream command(line);
    std::string verb;
    command >> verb;
    if (verb == "publish") {
      std::cout << DoPublish(engine->get(), command) << std::endl;
    } else if (verb == "pull") {
      std::cout << DoPull(engine->get(), command) << std::endl;
    } else if (verb == "churn") {
      DoChurn(engine->get(), command);
    }
  }
  return 0;
}

// The status in a line, and what follows its code.
absl::Status ParseStatus(std::istream& line) {
  int code = 0;
  line >> code;
  std::string message;
  std::getline(line, message);
  return absl::Status(static_cast<absl::StatusCode>(code), message);
}

}  // namespace

// --- in the test ---------------------------------------------------------

absl::StatusOr<std::unique_ptr<GpuPeer>> GpuPeer::Start(
    const GpuEngine::Options& options) {
  int to[2];
  int from[2];
  if (::pipe2(to, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  std::unique_ptr<GpuPeer> peer(new GpuPeer);
  UniqueFd input(to[0]);
  peer->to_.reset(to[1]);
  if (::pipe2(from, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  peer->from_.reset(from[0]);
  UniqueFd output(from[1]);
  const std::string variable =
      absl::StrCat(kVariable, "=", options.socket_path, " ", options.group, " ",
                   static_cast<int>(options.order), " ", options.blocks, " ",
                   options.slice_first, " ", options.slice_count, " ",
                   options.register_host_memory ? 1 : 0);
  // Made before the fork: only calls that are safe between it and exec.
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    environment.push_back(*entry);
  }
  std::string copy = variable;
  environment.push_back(copy.data());
  environment.push_back(nullptr);
  char name[] = "gpu-peer";
  char* const arguments[] = {name, nullptr};
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent || ::dup2(input.get(), 0) < 0 ||
        ::dup2(output.get(), 1) < 0) {
      ::_exit(127);
    }
    ::execve("/proc/self/exe", arguments, environment.data());
    ::_exit(127);
  }
  peer->pid_ = pid;
  input.reset();
  output.reset();
  KVFERRY_ASSIGN_OR_RETURN(const std::string line, peer->ReadLine());
  std::istringstream answer(line);
  KVFERRY_RETURN_IF_ERROR(ParseStatus(answer));
  return peer;
}

GpuPeer::~GpuPeer() { Kill(); }

void GpuPeer::Kill() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

absl::StatusOr<std::string> GpuPeer::ReadLine() {
  for (;;) {
    const size_t end = read_.find('\n');
    if (end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return line;
    }
    char bytes[1024];
    const ssize_t count = ::read(from_.get(), bytes, sizeof(bytes));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return absl::UnavailableError("the peer is gone");
    read_.append(bytes, static_cast<size_t>(count));
  }
}

absl::StatusOr<std::string> GpuPeer::Call(const std::string& command) {
  const std::string line = command + "\n";
  if (::write(to_.get(), line.data(), line.size()) !=
      static_cast<ssize_t>(line.size())) {
    return absl::UnavailableError("the peer is gone");
  }
  return ReadLine();
}

absl::Status GpuPeer::Publish(uint64_t n, uint32_t count,
                              const GpuEngine::PublishHow& how) {
  KVFERRY_ASSIGN_OR_RETURN(
      const std::string line,
      Call(absl::StrCat("publish ", n, " ", count, " ",
                        static_cast<int>(how.residence), " ", how.layers_a_part,
                        " ", how.tail_tokens, " ", how.instance, " ",
                        how.publication)));
  std::istringstream answer(line);
  return ParseStatus(answer);
}

absl::StatusOr<GpuEngine::Pulled> GpuPeer::Pull(uint64_t n, uint32_t count,
                                                uint32_t tail_tokens,
                                                uint32_t layers_a_piece) {
  KVFERRY_ASSIGN_OR_RETURN(
      const std::string line,
      Call(absl::StrCat("pull ", n, " ", count, " ", tail_tokens, " ",
                        layers_a_piece)));
  std::istringstream answer(line);
  int code = 0;
  answer >> code;
  if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), line);
  GpuEngine::Pulled pulled;
  answer >> pulled.hit >> pulled.in_gpu >> pulled.right;
  pulled.status = ParseStatus(answer);
  return pulled;
}

absl::Status GpuPeer::Churn(uint64_t seed, uint32_t prompts) {
  return Call(absl::StrCat("churn ", seed, " ", prompts)).status();
}

absl::Status GpuPeer::AwaitSteps(uint32_t steps) {
  for (uint32_t i = 0; i < steps; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const std::string line, ReadLine());
    std::istringstream answer(line);
    KVFERRY_RETURN_IF_ERROR(ParseStatus(answer));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::test

int main(int argc, char** argv) {
  if (const char* peer = std::getenv(kvferry::test::kVariable)) {
    return kvferry::test::RunPeer(peer);
  }
  // A peer that is gone is an answer, not the end.
  ::signal(SIGPIPE, SIG_IGN);
  testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
