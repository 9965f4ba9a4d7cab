#include "base/socket_path.h"

#include "kvferry/options.h"

namespace kvferry {

std::string DefaultSocketPath() { return SocketPathOfThisProcess(); }

}  // namespace kvferry
