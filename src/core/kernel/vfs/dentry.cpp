#include "core/kernel/vfs/dentry.h"

#include <cstring>

namespace umk::vfs {

namespace {

uint64_t load_word(const char* text, size_t size) {
  uint64_t word = 0;
  __builtin_memcpy(&word, text, size);
  return word;
}

bool same_name(std::string_view a, const char* b, size_t size) { return a.size() == size && __builtin_memcmp(a.data(), b, size) == 0; }

}  // namespace

uint32_t hash_name(std::string_view name) {
  constexpr uint64_t kMultiplier = 0x9ddfea08eb382d69;
  uint64_t hash = name.size() * kMultiplier;
  const char* text = name.data();
  size_t left = name.size();
  while (left >= 8) {
    hash = (hash ^ load_word(text, 8)) * kMultiplier;
    hash ^= hash >> 29;
    text += 8;
    left -= 8;
  }
  // Fixed-size loads, since a copy of variable size would be a call.
  uint64_t tail = 0;
  if (left >= 4) {
    tail = load_word(text, 4) | load_word(text + left - 4, 4) << 32;
  } else if (left > 0) {
    tail = static_cast<uint8_t>(text[0]) | static_cast<uint64_t>(static_cast<uint8_t>(text[left / 2])) << 8 | static_cast<uint64_t>(static_cast<uint8_t>(text[left - 1])) << 16;
  }
  hash = (hash ^ tail) * kMultiplier;
  return static_cast<uint32_t>(hash >> 32);
}

Dentry::~Dentry() {
  if (name_ != inline_name_) ::operator delete(name_);
  if (Inode* inode = inode_.load(std::memory_order_relaxed)) inode->drop_reference();
}

void Dentry::last_reference_dropped() {
  // A removed tree may be thousands of names deep: release upwards in a loop, not by recursion.
  Dentry* dying = this;
  while (dying) {
    Dentry* parent = dying->parent_.leak();
    dying->cache_.count_.fetch_sub(1, std::memory_order_relaxed);
    delete dying;
    dying = parent && parent->drop_reference_only() ? parent : nullptr;
  }
}

Result<void> Dentry::set_name(std::string_view name) {
  CHECK(name.size() <= kNameLimit, "names are bounded by the path walk");
  char* storage = inline_name_;
  if (name.size() > kInlineName) {
    storage = static_cast<char*>(::operator new(name.size(), std::nothrow));
    if (!storage) return error(ENOMEM);
  }
  __builtin_memcpy(storage, name.data(), name.size());
  if (name_ != inline_name_) ::operator delete(name_);
  name_ = storage;
  name_size_ = static_cast<uint16_t>(name.size());
  return {};
}

Result<std::unique_ptr<DentryCache>> DentryCache::create(size_t limit) {
  size_t bucket_count = 64;
  while (bucket_count < limit / 4) bucket_count *= 2;
  std::unique_ptr<Bucket[]> buckets(new (std::nothrow) Bucket[bucket_count]);
  if (!buckets) return error(ENOMEM);
  std::unique_ptr<DentryCache> cache(new (std::nothrow) DentryCache(std::move(buckets), bucket_count, limit));
  if (!cache) return error(ENOMEM);
  return cache;
}

DentryCache::~DentryCache() { purge(nullptr); }

RefPtr<Dentry> DentryCache::find(Dentry& parent, std::string_view name, uint32_t hash) {
  Bucket& bucket = bucket_of(parent, hash);
  MutexLock lock(bucket.mutex);
  for (Dentry* dentry = bucket.first; dentry; dentry = dentry->chain_next_) {
    if (dentry->hash_ != hash || dentry->parent_.get() != &parent || !same_name(name, dentry->name_, dentry->name_size_)) continue;
    if (!dentry->recently_used_.load(std::memory_order_relaxed)) dentry->recently_used_.store(true, std::memory_order_relaxed);
    return RefPtr<Dentry>(dentry);
  }
  return nullptr;
}

/// Puts a dentry with its parent, name and hash set on its chain; the cache's reference is taken here.
void DentryCache::chain(Dentry& dentry) {
  dentry.add_reference();
  {
    MutexLock lock(tree_mutex_);
    Dentry& parent = *dentry.parent_;
    dentry.next_sibling_ = parent.first_child_;
    dentry.sibling_link_ = &parent.first_child_;
    if (parent.first_child_) parent.first_child_->sibling_link_ = &dentry.next_sibling_;
    parent.first_child_ = &dentry;
  }
  Bucket& bucket = bucket_of(*dentry.parent_, dentry.hash_);
  MutexLock lock(bucket.mutex);
  dentry.chain_next_ = bucket.first;
  bucket.first = &dentry;
  dentry.hashed_.store(true, std::memory_order_release);
}

void DentryCache::leave_parent(Dentry& dentry) {
  MutexLock lock(tree_mutex_);
  if (!dentry.sibling_link_) return;
  *dentry.sibling_link_ = dentry.next_sibling_;
  if (dentry.next_sibling_) dentry.next_sibling_->sibling_link_ = dentry.sibling_link_;
  dentry.sibling_link_ = nullptr;
  dentry.next_sibling_ = nullptr;
}

/// Takes a dentry off its chain unless it has more references than given; true when it was taken, in which case the cache's reference is now the caller's to drop.
bool DentryCache::unchain(Dentry& dentry, uint32_t most_references) {
  if (!dentry.hashed_.load(std::memory_order_acquire)) return false;
  bool found = false;
  {
    // A rename may give it another parent meanwhile: then it is not in this bucket any more, and stays where it is now.
    Bucket& bucket = [&]() -> Bucket& {
      MutexLock lock(tree_mutex_);
      return bucket_of(*dentry.parent_, dentry.hash_);
    }();
    MutexLock lock(bucket.mutex);
    // Under the lock nobody finds it, so a count that shows no other user stays so.
    for (Dentry** link = &bucket.first; *link && !found && dentry.reference_count() <= most_references;) {
      if (*link != &dentry) {
        link = &(*link)->chain_next_;
        continue;
      }
      *link = dentry.chain_next_;
      dentry.chain_next_ = nullptr;
      dentry.hashed_.store(false, std::memory_order_release);
      found = true;
    }
  }
  if (found) leave_parent(dentry);
  return found;
}

Result<RefPtr<Dentry>> DentryCache::add(Dentry& parent, std::string_view name, uint32_t hash, RefPtr<Inode> inode) {
  RefPtr<Dentry> dentry = TRY(make_ref<Dentry>(*this, parent.superblock_));
  count_.fetch_add(1, std::memory_order_relaxed);
  TRY(dentry->set_name(name));
  dentry->parent_ = RefPtr<Dentry>(parent);
  dentry->hash_ = hash;
  dentry->inode_.store(inode.leak(), std::memory_order_release);
  chain(*dentry);
  return dentry;
}

Result<RefPtr<Dentry>> DentryCache::make_root(Superblock& superblock, RefPtr<Inode> inode) {
  RefPtr<Dentry> dentry = TRY(make_ref<Dentry>(*this, superblock));
  count_.fetch_add(1, std::memory_order_relaxed);
  dentry->is_root_ = true;
  dentry->inode_.store(inode.leak(), std::memory_order_release);
  return dentry;
}

Result<RefPtr<Dentry>> DentryCache::make_nameless(Dentry& parent, RefPtr<Inode> inode) {
  RefPtr<Dentry> dentry = TRY(make_ref<Dentry>(*this, parent.superblock_));
  count_.fetch_add(1, std::memory_order_relaxed);
  char name[24];
  BufferSink sink(name);
  format(sink, "#{}", inode->number());
  TRY(dentry->set_name(sink.view()));
  dentry->parent_ = RefPtr<Dentry>(parent);
  dentry->inode_.store(inode.leak(), std::memory_order_release);
  return dentry;
}

void DentryCache::instantiate(Dentry& dentry, RefPtr<Inode> inode) {
  CHECK(dentry.is_negative(), "only a negative dentry can be given an inode");
  dentry.inode_.store(inode.leak(), std::memory_order_release);
}

void DentryCache::remove(Dentry& dentry) {
  if (unchain(dentry)) dentry.drop_reference();
}

void DentryCache::remove_children(Dentry& parent) {
  for (;;) {
    RefPtr<Dentry> child;
    {
      MutexLock lock(tree_mutex_);
      child = RefPtr<Dentry>(parent.first_child_);
    }
    if (!child) return;
    leave_parent(*child);
    remove(*child);
  }
}

Result<void> DentryCache::move(Dentry& dentry, Dentry& new_parent, std::string_view new_name) {
  const uint32_t hash = hash_name(new_name);
  // Everything that can fail comes first.
  char* long_name = nullptr;
  if (new_name.size() > Dentry::kInlineName) {
    long_name = static_cast<char*>(::operator new(new_name.size(), std::nothrow));
    if (!long_name) return error(ENOMEM);
    __builtin_memcpy(long_name, new_name.data(), new_name.size());
  }
  if (RefPtr<Dentry> replaced = find(new_parent, new_name, hash); replaced && replaced.get() != &dentry) remove(*replaced);
  const bool was_chained = unchain(dentry);
  RefPtr<Dentry> old_parent(new_parent);
  {
    MutexLock lock(tree_mutex_);
    std::swap(dentry.parent_, old_parent);
    if (dentry.name_ != dentry.inline_name_) ::operator delete(dentry.name_);
    dentry.name_ = long_name ? long_name : dentry.inline_name_;
    if (!long_name) __builtin_memcpy(dentry.inline_name_, new_name.data(), new_name.size());
    dentry.name_size_ = static_cast<uint16_t>(new_name.size());
    dentry.hash_ = hash;
  }
  chain(dentry);
  if (was_chained) dentry.drop_reference();
  return {};
}

void DentryCache::exchange(Dentry& a, Dentry& b) {
  const bool a_chained = unchain(a), b_chained = unchain(b);
  {
    MutexLock lock(tree_mutex_);
    std::swap(a.parent_, b.parent_);
    std::swap(a.hash_, b.hash_);
    char inline_name[Dentry::kInlineName];
    __builtin_memcpy(inline_name, a.inline_name_, sizeof inline_name);
    __builtin_memcpy(a.inline_name_, b.inline_name_, sizeof inline_name);
    __builtin_memcpy(b.inline_name_, inline_name, sizeof inline_name);
    char* const a_long = a.name_ == a.inline_name_ ? nullptr : a.name_;
    char* const b_long = b.name_ == b.inline_name_ ? nullptr : b.name_;
    a.name_ = b_long ? b_long : a.inline_name_;
    b.name_ = a_long ? a_long : b.inline_name_;
    std::swap(a.name_size_, b.name_size_);
  }
  chain(a);
  chain(b);
  if (a_chained) a.drop_reference();
  if (b_chained) b.drop_reference();
}

RefPtr<Dentry> DentryCache::parent_of(Dentry& dentry) {
  MutexLock lock(tree_mutex_);
  return dentry.parent_ ? dentry.parent_ : RefPtr<Dentry>(dentry);
}

bool DentryCache::is_at_or_below(const Dentry& dentry, const Dentry& ancestor) {
  MutexLock lock(tree_mutex_);
  for (const Dentry* place = &dentry; place; place = place->parent_.get())
    if (place == &ancestor) return true;
  return false;
}

std::string_view DentryCache::copy_name(Dentry& dentry, std::span<char> into) {
  MutexLock lock(tree_mutex_);
  const size_t size = dentry.name_size_ < into.size() ? dentry.name_size_ : into.size();
  __builtin_memcpy(into.data(), dentry.name_, size);
  return {into.data(), size};
}

char* DentryCache::prepend_path(const Dentry& dentry, const Dentry* top, const Dentry* other_top, char* begin, char* end, const Dentry** stopped) {
  MutexLock lock(tree_mutex_);
  const Dentry* place = &dentry;
  while (place != top && place != other_top && place->parent_) {
    if (static_cast<size_t>(end - begin) < place->name_size_ + size_t{1}) return nullptr;
    end -= place->name_size_;
    __builtin_memcpy(end, place->name_, place->name_size_);
    *--end = '/';
    place = place->parent_.get();
  }
  *stopped = place;
  return end;
}

template <typename Wanted>
size_t DentryCache::evict_bucket(Bucket& bucket, Wanted&& wanted) {
  Dentry* evicted = nullptr;
  size_t count = 0;
  {
    MutexLock lock(bucket.mutex);
    for (Dentry** link = &bucket.first; *link;) {
      Dentry* dentry = *link;
      // New references are only made by find(), under this lock, or from references that exist: one reference means the cache's alone.
      if (dentry->reference_count() != 1 || !wanted(*dentry)) {
        link = &dentry->chain_next_;
        continue;
      }
      *link = dentry->chain_next_;
      dentry->hashed_.store(false, std::memory_order_release);
      dentry->chain_next_ = evicted;
      evicted = dentry;
      ++count;
    }
  }
  while (evicted) {
    Dentry* next = evicted->chain_next_;
    evicted->chain_next_ = nullptr;
    leave_parent(*evicted);
    RefPtr<Dentry> above = evicted->parent_;
    evicted->drop_reference();
    // A parent that only this child used goes along, so that a deep tree goes in one pass. Two references: the cache's and ours.
    while (above && above->reference_count() == 2 && wanted(*above) && unchain(*above, 2)) {
      above->drop_reference();
      ++count;
      RefPtr<Dentry> higher = above->parent_;
      above = std::move(higher);
    }
    evicted = next;
  }
  return count;
}

size_t DentryCache::evict(size_t enough, unsigned rounds) {
  // A clock hand over the buckets: a name that was used since the hand last passed gets a second chance. A name keeps its parent, which only
  // the next round finds.
  const size_t buckets = bucket_mask_ + 1;
  size_t evicted = 0;
  for (size_t step = 0; step < rounds * buckets && evicted < enough; ++step) {
    Bucket& bucket = buckets_[hand_.fetch_add(1, std::memory_order_relaxed) & bucket_mask_];
    evicted += evict_bucket(bucket, [](Dentry& dentry) { return !dentry.recently_used_.exchange(false, std::memory_order_relaxed); });
  }
  return evicted;
}

void DentryCache::purge(const Superblock* superblock) {
  // Dropping a name may leave its parent unused, so go on until nothing is found.
  size_t evicted;
  do {
    evicted = 0;
    for (size_t i = 0; i <= bucket_mask_; ++i)
      evicted += evict_bucket(buckets_[i], [&](Dentry& dentry) { return !superblock || &dentry.superblock_ == superblock; });
  } while (evicted != 0);
}

}  // namespace umk::vfs
