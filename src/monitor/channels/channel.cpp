#include "monitor/channels/channel.h"

#include "monitor/channels/descriptor_channel.h"
#include "monitor/channels/null_channel.h"
#include "monitor/channels/port_channel.h"
#include "monitor/channels/pty_channel.h"
#include "monitor/channels/terminal_channel.h"
#include "monitor/channels/xterm_channel.h"

namespace umk::monitor {

std::unique_ptr<Channel> make_channel(const ChannelEnd& end, const ChannelUse& use, ChannelContext& context) {
  using Kind = ChannelEnd::Kind;
  switch (end.kind) {
    case Kind::None: break;
    case Kind::Null: return std::make_unique<NullChannel>();
    case Kind::Descriptor: return std::make_unique<DescriptorChannel>(end.number, use, context);
    case Kind::Terminal: return std::make_unique<TerminalChannel>(end.path, use, context);
    case Kind::Pty: return std::make_unique<PtyChannel>(PtyChannel::Kind::Bsd, use, context);
    case Kind::Pts: return std::make_unique<PtyChannel>(PtyChannel::Kind::Unix98, use, context);
    case Kind::Xterm: return std::make_unique<XtermChannel>(use, context);
    case Kind::Port: return std::make_unique<PortChannel>(end.number, context);
  }
  return std::make_unique<NullChannel>();
}

}  // namespace umk::monitor
