// Intrusive containers: Boost.Intrusive under short names, with the hooks that our objects carry.
//
// An object may be on several lists at once through hooks of different tags. Lists own nothing.
#pragma once

#define BOOST_INTRUSIVE_SAFE_HOOK_DEFAULT_ASSERT(condition) ((void)(condition))
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>

namespace umk {

struct DefaultTag;

/// A hook that removes itself from its list when its object dies.
template <typename Tag = DefaultTag>
using ListHook = boost::intrusive::list_base_hook<boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

template <typename T, typename Tag = DefaultTag>
using List = boost::intrusive::list<T, boost::intrusive::base_hook<ListHook<Tag>>, boost::intrusive::constant_time_size<false>>;

template <typename Tag = DefaultTag>
using TreeHook = boost::intrusive::set_base_hook<boost::intrusive::tag<Tag>, boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// A red-black tree ordered by `KeyOf`, a function object with `type` that returns an object's key.
template <typename T, typename KeyOf, typename Tag = DefaultTag>
using Tree = boost::intrusive::set<T, boost::intrusive::base_hook<TreeHook<Tag>>, boost::intrusive::key_of_value<KeyOf>,
                                   boost::intrusive::constant_time_size<false>>;

/// Like Tree, with equal keys allowed.
template <typename T, typename KeyOf, typename Tag = DefaultTag>
using MultiTree = boost::intrusive::multiset<T, boost::intrusive::base_hook<TreeHook<Tag>>, boost::intrusive::key_of_value<KeyOf>,
                                             boost::intrusive::constant_time_size<false>>;

}  // namespace umk
