#include "core/fs/squashfs/unpacker.h"

#include <algorithm>

#include "core/base/bits.h"

namespace umk::squashfs {

Unpacker::~Unpacker() {
  // One by one: a chain of destructors would take as much stack as it is long.
  std::unique_ptr<Worker> worker = std::move(idle_);
  while (worker) worker = std::move(worker->next);
}

Result<void> Unpacker::create(const Layout& layout) {
  end_ = layout.bytes_used;
  largest_packed_ = std::max<size_t>(layout.block_size, kMetadataBytes);
  switch (layout.compressor) {
    case Compressor::Gzip: method_ = decompress::Method::Zlib; break;
    case Compressor::Lzo: method_ = decompress::Method::Lzo; break;
    case Compressor::Xz: method_ = decompress::Method::Xz; break;
    case Compressor::Lz4: method_ = decompress::Method::Lz4; break;
    case Compressor::Zstd: method_ = decompress::Method::Zstd; break;
    case Compressor::Lzma: return error(EINVAL);
  }
  give_back(TRY(take_worker()));
  return {};
}

Result<std::unique_ptr<Unpacker::Worker>> Unpacker::take_worker() {
  {
    MutexLock lock(mutex_);
    if (idle_) {
      std::unique_ptr<Worker> worker = std::move(idle_);
      idle_ = std::move(worker->next);
      return worker;
    }
  }
  std::unique_ptr<Worker> worker = TRY(make_unique<Worker>());
  worker->decompressor = TRY(decompress::Decompressor::create(method_));
  worker->input.reset(new (std::nothrow) std::byte[input_bytes()]);
  if (!worker->input) return error(ENOMEM);
  return worker;
}

void Unpacker::give_back(std::unique_ptr<Worker> worker) {
  MutexLock lock(mutex_);
  worker->next = std::move(idle_);
  idle_ = std::move(worker);
}

Result<ConstBytes> Unpacker::read_packed(uint64_t place, uint32_t bytes, Bytes input) {
  if (bytes == 0 || place > end_ || bytes > end_ - place) return error(EIO);
  const uint32_t sector = device_.logical_block_bytes();
  const uint64_t first = round_down(place, sector), last = round_up(place + bytes, sector);
  if (last - first > input.size()) return error(EIO);
  TRY(device_.read(first, input.first(last - first)));
  return ConstBytes(input.subspan(place - first, bytes));
}

Result<void> Unpacker::read(uint64_t place, Bytes into) {
  std::unique_ptr<Worker> worker = TRY(take_worker());
  Result<void> outcome;
  while (!into.empty()) {
    const size_t here = std::min(into.size(), largest_packed_);
    const Result<ConstBytes> bytes = read_packed(place, static_cast<uint32_t>(here), Bytes(worker->input.get(), input_bytes()));
    if (!bytes.ok()) {
      outcome = bytes.failure();
      break;
    }
    memcpy(into.data(), bytes.value().data(), here);
    into = into.subspan(here);
    place += here;
  }
  give_back(std::move(worker));
  return outcome;
}

Result<size_t> Unpacker::unpack(uint64_t place, uint32_t bytes, bool is_packed, Bytes into) {
  if (!is_packed) {
    if (bytes > into.size()) return error(EIO);
    TRY(read(place, into.first(bytes)));
    return size_t{bytes};
  }
  if (bytes > largest_packed_) return error(EIO);
  std::unique_ptr<Worker> worker = TRY(take_worker());
  const Result<ConstBytes> packed = read_packed(place, bytes, Bytes(worker->input.get(), input_bytes()));
  Result<size_t> made = packed.ok() ? worker->decompressor->decompress(packed.value(), into) : Result<size_t>(packed.failure());
  give_back(std::move(worker));
  return made;
}

}  // namespace umk::squashfs
