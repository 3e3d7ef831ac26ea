#include "core/drivers/ubd/ubd_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace umk::ubd {
namespace {

using Bytes = std::vector<std::byte>;

Bytes filled(size_t bytes, char letter) { return Bytes(bytes, static_cast<std::byte>(letter)); }

class UbdDiskTest : public testing::Test {
 protected:
  UbdDiskTest() {
    char pattern[] = "/tmp/umk-ubd-test-XXXXXX";
    directory_ = mkdtemp(pattern);
  }
  ~UbdDiskTest() override {
    for (const char* name : {"image", "cow", "backing"}) unlink(path(name).c_str());
    rmdir(directory_.c_str());
  }
  std::string path(const char* name) const { return directory_ + "/" + name; }

  int make_file(const char* name, uint64_t bytes, char letter = 0, int flags = O_RDWR) {
    const int fd = open(path(name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (letter != 0) {
      const std::string text(bytes, letter);
      EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(bytes));
    } else {
      EXPECT_EQ(ftruncate(fd, static_cast<off_t>(bytes)), 0);
    }
    close(fd);
    return open(path(name).c_str(), flags | O_CLOEXEC);
  }
  RefPtr<UbdDisk> plain(uint64_t bytes, char letter = 0) {
    return UbdDisk::create({.fd = make_file("image", bytes, letter), .layout = {}, .bytes = bytes, .file = "image", .backing_file = {}, .serial = {}}).take();
  }
  static cow_format::Layout layout_for(uint64_t bytes) { return cow_format::layout_of({.backing_name = "backing", .backing_bytes = bytes}).take(); }
  /// A disk on the files "cow" and "backing", which are there.
  RefPtr<UbdDisk> open_cow(uint64_t bytes) {
    DiskImage image{.fd = open(path("cow").c_str(), O_RDWR | O_CLOEXEC), .layout = layout_for(bytes), .bytes = bytes, .file = "cow", .backing_file = "backing", .serial = {}};
    image.backing_fd = open(path("backing").c_str(), O_RDONLY | O_CLOEXEC);
    return UbdDisk::create(image).take();
  }
  RefPtr<UbdDisk> fresh_cow(uint64_t bytes, char letter) {
    close(make_file("backing", bytes, letter));
    close(make_file("cow", layout_for(bytes).data_offset + bytes));
    return open_cow(bytes);
  }
  static char letter_at(UbdDisk& disk, uint64_t offset) {
    Bytes sector(512);
    EXPECT_TRUE(disk.read(offset / 512 * 512, sector).ok());
    return static_cast<char>(sector[offset % 512]);
  }
  bool bit_on_disk(uint64_t sector, uint64_t bytes) {
    const int fd = open(path("cow").c_str(), O_RDONLY | O_CLOEXEC);
    unsigned char byte = 0;
    EXPECT_EQ(pread(fd, &byte, 1, static_cast<off_t>(layout_for(bytes).bitmap_offset + sector / 8)), 1);
    close(fd);
    return byte >> sector % 8 & 1;
  }

  std::string directory_;
};

TEST(UbdNames, GoOnAfterZ) {
  EXPECT_EQ(disk_name(0).take(), "ubda");
  EXPECT_EQ(disk_name(25).take(), "ubdz");
  EXPECT_EQ(disk_name(26).take(), "ubdaa");
  EXPECT_EQ(disk_name(26 + 27).take(), "ubdbb");
}

TEST(UbdNames, AreReadInAllOldForms) {
  EXPECT_EQ(disk_number("ubda"), 0u);
  EXPECT_EQ(disk_number("ubd0"), 0u);
  EXPECT_EQ(disk_number("ubd/3"), 3u);
  EXPECT_EQ(disk_number("ubd12"), 12u);
  EXPECT_EQ(disk_number("ubdaa"), 26u);
  EXPECT_FALSE(disk_number("ubda1"));
  EXPECT_FALSE(disk_number("ubd"));
  EXPECT_FALSE(disk_number("sda"));
}

TEST_F(UbdDiskTest, KeepsWhatIsWritten) {
  RefPtr<UbdDisk> disk = plain(1 << 20);
  EXPECT_EQ(disk->name(), "ubda");
  ASSERT_TRUE(disk->write(1024, filled(1024, 'w')).ok());
  ASSERT_TRUE(disk->flush().ok());
  EXPECT_EQ(letter_at(*disk, 1024), 'w');
  EXPECT_EQ(letter_at(*disk, 2048), '\0');
}

TEST_F(UbdDiskTest, HasNoRoomInHoles) {
  RefPtr<UbdDisk> disk = plain(1 << 20);
  EXPECT_FALSE(disk->has_room(0, 65536));
  ASSERT_TRUE(disk->write(0, filled(65536, 'w')).ok());
  EXPECT_TRUE(disk->has_room(0, 65536));
  EXPECT_FALSE(disk->has_room(0, 65536 + 4096));
  disk = fresh_cow(1 << 20, 'b');
  EXPECT_FALSE(disk->has_room(0, 65536)) << "the backing file's room is not the disk's";
  ASSERT_TRUE(disk->write(0, filled(65536, 'w')).ok());
  EXPECT_TRUE(disk->has_room(0, 65536));
}

TEST_F(UbdDiskTest, ScattersAndGathers) {
  RefPtr<UbdDisk> disk = plain(1 << 20);
  Bytes pieces[100];
  std::vector<block::Segment> segments;
  for (int i = 0; i < 100; ++i) {
    pieces[i] = filled(i % 2 ? 100 : 412, static_cast<char>('0' + i % 10));
    segments.push_back({pieces[i].data(), pieces[i].size()});
  }
  ASSERT_TRUE(disk->write(512, std::span<const block::Segment>(segments)).ok());
  const Bytes before = pieces[99];
  for (Bytes& piece : pieces) piece.assign(piece.size(), std::byte{0});
  ASSERT_TRUE(disk->read(512, std::span<const block::Segment>(segments)).ok());
  EXPECT_EQ(pieces[99], before);
  EXPECT_EQ(letter_at(*disk, 512 + 411), '0');
  EXPECT_EQ(letter_at(*disk, 512 + 412), '1');
}

TEST_F(UbdDiskTest, RoundsTheSizeUpAndFillsTheRestWithZeroes) {
  RefPtr<UbdDisk> disk = plain(1000, 'x');
  EXPECT_EQ(disk->size_bytes(), 1024u);
  EXPECT_EQ(letter_at(*disk, 999), 'x');
  EXPECT_EQ(letter_at(*disk, 1000), '\0');
}

TEST_F(UbdDiskTest, AnImageThatShrankFails) {
  RefPtr<UbdDisk> disk = plain(1 << 20, 'x');
  ASSERT_EQ(truncate(path("image").c_str(), 4096), 0);
  Bytes sector(512);
  EXPECT_TRUE(disk->read(0, sector).ok());
  EXPECT_EQ(disk->read(8192, sector).code(), EIO);
}

TEST_F(UbdDiskTest, AnImageThatGrewIsALargerDiskAtTheNextOpen) {
  RefPtr<UbdDisk> disk = plain(4096, 'x');
  ASSERT_EQ(truncate(path("image").c_str(), 8192), 0);
  EXPECT_EQ(disk->size_bytes(), 4096u);
  ASSERT_TRUE(disk->check_open(true).ok());
  EXPECT_EQ(disk->size_bytes(), 8192u);
  EXPECT_EQ(letter_at(*disk, 8000), '\0');
}

TEST_F(UbdDiskTest, DiscardGivesTheHostItsSpaceBack) {
  RefPtr<UbdDisk> disk = plain(1 << 20, 'x');
  ASSERT_TRUE(disk->flush().ok());
  struct stat before {}, after {};
  stat(path("image").c_str(), &before);
  ASSERT_TRUE(disk->discard(0, 512 * 1024).ok());
  stat(path("image").c_str(), &after);
  EXPECT_LT(after.st_blocks, before.st_blocks);
  EXPECT_EQ(letter_at(*disk, 0), '\0');
  EXPECT_EQ(letter_at(*disk, 512 * 1024), 'x');
  ASSERT_TRUE(disk->write_zeroes(512 * 1024, 4096).ok());
  EXPECT_EQ(letter_at(*disk, 512 * 1024), '\0');
}

TEST_F(UbdDiskTest, AReadOnlyMediumIsNotOpenedForWriting) {
  RefPtr<UbdDisk> disk =
      UbdDisk::create({.fd = make_file("image", 4096, 'x', O_RDONLY), .layout = {}, .bytes = 4096, .is_read_only = true, .file = "image", .backing_file = {}, .serial = {}}).take();
  EXPECT_EQ(disk->check_open(true).code(), EROFS);
  EXPECT_TRUE(disk->check_open(false).ok());
  EXPECT_EQ(disk->write(0, filled(512, 'y')).code(), EROFS);
}

TEST_F(UbdDiskTest, AHostThatFailsIsAnIoError) {
  // Open for reading although the disk may be written: the host answers EBADF.
  RefPtr<UbdDisk> disk = UbdDisk::create({.fd = make_file("image", 4096, 'x', O_RDONLY), .layout = {}, .bytes = 4096, .file = "image", .backing_file = {}, .serial = {}}).take();
  EXPECT_EQ(disk->write(0, filled(512, 'y')).code(), EIO);
}

TEST_F(UbdDiskTest, WritesGoToTheCopyAndTheBackingFileStays) {
  const uint64_t bytes = 1 << 20;
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  EXPECT_EQ(letter_at(*disk, 0), 'b');
  ASSERT_TRUE(disk->write(512, filled(1024, 'c')).ok());
  EXPECT_EQ(letter_at(*disk, 511), 'b');
  EXPECT_EQ(letter_at(*disk, 512), 'c');
  EXPECT_EQ(letter_at(*disk, 1535), 'c');
  EXPECT_EQ(letter_at(*disk, 1536), 'b');
  // One read over all of it.
  Bytes four(2048);
  ASSERT_TRUE(disk->read(0, four).ok());
  EXPECT_EQ(four[511], std::byte{'b'});
  EXPECT_EQ(four[512], std::byte{'c'});
  EXPECT_EQ(four[1536], std::byte{'b'});
  disk = nullptr;
  disk = open_cow(bytes);
  EXPECT_EQ(letter_at(*disk, 512), 'c');
  EXPECT_EQ(letter_at(*disk, 1536), 'b');
}

TEST_F(UbdDiskTest, TellsWhereBytesLieThatNobodyWrites) {
  // The image of a disk that can be written, and files that are not locked, may change.
  EXPECT_FALSE(plain(1 << 20, 'x')->fixed_extent(0, 4096));
  const uint64_t bytes = (1 << 20) + 1000;
  EXPECT_FALSE(fresh_cow(bytes, 'b')->fixed_extent(0, 4096));

  DiskImage image{.fd = open(path("cow").c_str(), O_RDWR | O_CLOEXEC), .layout = layout_for(bytes), .bytes = bytes, .is_fixed = true, .file = "cow", .backing_file = "backing", .serial = {}};
  const int backing = image.backing_fd = open(path("backing").c_str(), O_RDONLY | O_CLOEXEC);
  RefPtr<UbdDisk> disk = UbdDisk::create(image).take();
  mm::FixedExtent extent = disk->fixed_extent(8192, 1 << 30);
  EXPECT_EQ(extent.fd, backing);
  EXPECT_EQ(extent.offset, 8192u);
  EXPECT_EQ(extent.bytes, bytes - 8192) << "not the rest of the last sector";
  ASSERT_TRUE(disk->write(100 * 512, filled(3 * 512, 'c')).ok());
  EXPECT_EQ(disk->fixed_extent(8192, 1 << 20).bytes, 100 * 512u - 8192);
  EXPECT_FALSE(disk->fixed_extent(102 * 512, 512));
  EXPECT_EQ(disk->fixed_extent(103 * 512, 1024).bytes, 1024u);
  EXPECT_FALSE(disk->fixed_extent(2 << 20, 512));

  const int fd = make_file("image", 4096, 'x', O_RDONLY);
  disk = UbdDisk::create({.fd = fd, .layout = {}, .bytes = 4096, .is_read_only = true, .is_fixed = true, .file = "image", .backing_file = {}, .serial = {}}).take();
  extent = disk->fixed_extent(512, 8192);
  EXPECT_EQ(extent.fd, fd);
  EXPECT_EQ(extent.bytes, 4096u - 512);
}

TEST_F(UbdDiskTest, BitsReachTheFileWithAFlushOnly) {
  const uint64_t bytes = 1 << 20;
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  ASSERT_TRUE(disk->write(5 * 512, filled(512, 'c')).ok());
  EXPECT_FALSE(bit_on_disk(5, bytes)) << "the data may not be durable yet";
  ASSERT_TRUE(disk->flush().ok());
  EXPECT_TRUE(bit_on_disk(5, bytes));
  EXPECT_FALSE(bit_on_disk(6, bytes));
  ASSERT_TRUE(disk->write(6 * 512, filled(512, 'c')).ok());
  EXPECT_FALSE(bit_on_disk(6, bytes));
  // What a kill would leave: the bits that were flushed.
  RefPtr<UbdDisk> after_kill = open_cow(bytes);
  EXPECT_EQ(letter_at(*after_kill, 5 * 512), 'c');
  EXPECT_EQ(letter_at(*after_kill, 6 * 512), 'b');
}

TEST_F(UbdDiskTest, ZeroesAndDiscardsInTheCopy) {
  const uint64_t bytes = 1 << 20;
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  ASSERT_TRUE(disk->write_zeroes(4096, 4096).ok());
  EXPECT_EQ(letter_at(*disk, 4096), '\0');
  EXPECT_EQ(letter_at(*disk, 8192), 'b');
  ASSERT_TRUE(disk->write(65536, filled(8192, 'c')).ok());
  ASSERT_TRUE(disk->discard(65536, 4096).ok());
  EXPECT_EQ(letter_at(*disk, 65536), '\0');
  EXPECT_EQ(letter_at(*disk, 65536 + 4096), 'c');
  ASSERT_TRUE(disk->discard(0, 512).ok());
  disk = nullptr;
  EXPECT_EQ(letter_at(*open_cow(bytes), 4096), '\0');
}

TEST_F(UbdDiskTest, ASizeThatIsNoMultipleOfASectorWorksWithACopy) {
  const uint64_t bytes = 1000000;
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  EXPECT_EQ(disk->size_bytes(), 1000448u);
  EXPECT_EQ(letter_at(*disk, bytes - 1), 'b');
  EXPECT_EQ(letter_at(*disk, bytes), '\0');
  ASSERT_TRUE(disk->write(999936, filled(512, 'c')).ok());
  EXPECT_EQ(letter_at(*disk, bytes), 'c');
}

TEST_F(UbdDiskTest, ABackingFileThatShrankFails) {
  const uint64_t bytes = 1 << 20;
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  ASSERT_EQ(truncate(path("backing").c_str(), 4096), 0);
  Bytes sector(512);
  EXPECT_EQ(disk->read(8192, sector).code(), EIO);
  ASSERT_TRUE(disk->write(8192, filled(512, 'c')).ok());
  EXPECT_TRUE(disk->read(8192, sector).ok());
}

TEST_F(UbdDiskTest, BehavesAsMemoryUnderRandomRequests) {
  const uint64_t bytes = 40 << 20;  // more than one piece of the bitmap
  RefPtr<UbdDisk> disk = fresh_cow(bytes, 'b');
  Bytes model = filled(bytes, 'b');
  std::mt19937_64 random(7);
  for (int step = 0; step < 400; ++step) {
    const uint64_t sectors = 1 + random() % 64, first = random() % (bytes / 512 - sectors);
    const uint64_t offset = first * 512, length = sectors * 512;
    switch (random() % 6) {
      case 0: ASSERT_TRUE(disk->flush().ok()); break;
      case 1:
        ASSERT_TRUE(disk->write_zeroes(offset, length).ok());
        memset(model.data() + offset, 0, length);
        break;
      case 2:
      case 3: {
        const Bytes data = filled(length, static_cast<char>(random()));
        ASSERT_TRUE(disk->write(offset, data).ok());
        memcpy(model.data() + offset, data.data(), length);
        break;
      }
      default: {
        Bytes data(length);
        ASSERT_TRUE(disk->read(offset, data).ok());
        ASSERT_EQ(memcmp(data.data(), model.data() + offset, length), 0) << step;
      }
    }
    if (step == 200) {
      disk = nullptr;
      disk = open_cow(bytes);
    }
  }
  Bytes all(bytes);
  ASSERT_TRUE(disk->read(0, all).ok());
  EXPECT_EQ(all, model);
}

}  // namespace
}  // namespace umk::ubd
