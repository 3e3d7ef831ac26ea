#include "core/kernel/socket/socket_layer.h"

namespace umk::socket {

Result<SocketFamily&> SocketLayer::family(int number) {
  if (number < 0 || static_cast<size_t>(number) >= families_.size() || !families_[static_cast<size_t>(number)]) return error(EAFNOSUPPORT);
  return *families_[static_cast<size_t>(number)];
}

}  // namespace umk::socket
