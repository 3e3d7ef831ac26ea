// Volumes by genisoimage and xorriso, compared with the trees that they were made of; volumes made by hand for what these do not make; damaged ones.
#include "core/fs/iso9660/nodes.h"
#include "core/kernel/block/testing_disk.h"

namespace umk::iso9660 {

namespace {

using block::Image;

/// Sectors that a test writes: a volume whose root is in sector 20.
class HandMade {
 public:
  static constexpr uint32_t kRoot = 20;

  explicit HandMade(uint32_t sectors = 40) : text_(size_t{sectors} * kSectorBytes, '\0') {
    const std::string root = record(std::string(1, '\0'), kRoot, kSectorBytes, 2);
    put(16, 0,
        "\x01"
        "CD001\x01");
    put(16, 80, both(sectors));
    put(16, 128, std::string("\0\x08\x08\0", 4));
    put(16, 156, root);
    put(17, 0,
        "\xff"
        "CD001\x01");
    begin_directory(kRoot, kRoot);
  }

  static std::string both(uint32_t value) {
    std::string text(8, '\0');
    const uint32_t big = __builtin_bswap32(value);
    memcpy(text.data(), &value, 4);
    memcpy(text.data() + 4, &big, 4);
    return text;
  }
  static std::string field(const char* signature, const std::string& content) {
    return signature + std::string{static_cast<char>(content.size() + 4), 1} + content;
  }
  static std::string name_field(const std::string& name) { return field("NM", std::string(1, '\0') + name); }
  static std::string mode_field(uint32_t mode) { return field("PX", both(mode) + both(1) + both(7) + both(8)); }

  static std::string record(const std::string& name, uint32_t extent, uint32_t size, int flags, const std::string& system_use = "") {
    std::string text =
        both(extent) + both(size) + std::string{120, 1, 1, 0, 0, 0, 0} + std::string{static_cast<char>(flags), 0, 0, 1, 0, 0, 1};
    text += std::string{static_cast<char>(name.size())} + name;
    if (name.size() % 2 == 0) text += '\0';
    text += system_use;
    if (text.size() % 2) text += '\0';
    return std::string{static_cast<char>(text.size() + 2), 0} + text;
  }

  void begin_directory(uint32_t sector, uint32_t parent, const std::string& system_use = "") {
    end_ = {sector, 0};
    add(record(std::string(1, '\0'), sector, kSectorBytes, 2, system_use));
    add(record(std::string(1, '\1'), parent, kSectorBytes, 2));
  }
  /// To the directory that was begun last.
  void add(const std::string& record) {
    put(end_.first, end_.second, record);
    end_.second += record.size();
  }
  void put(uint32_t sector, size_t offset, const std::string& content) {
    text_.replace(size_t{sector} * kSectorBytes + offset, content.size(), content);
  }
  /// The root's first record, which tells that there are Rock Ridge fields.
  void use_rock_ridge() { begin_directory(kRoot, kRoot, field("SP", "\xbe\xef" + std::string(1, '\0')) + mode_field(040755)); }

  Image image() const {
    Image image(text_.size());
    memcpy(image.data(), text_.data(), text_.size());
    return image;
  }

 private:
  std::string text_;
  std::pair<uint32_t, size_t> end_{kRoot, 0};
};

class IsoTest : public block::DiskTest {
 protected:
  IsoTest() : DiskTest("iso9660") {
    set_log_writer([](LogLevel, std::string_view) {});
    start_tree();
  }

  Result<RefPtr<vfs::Superblock>> mount_volume(const vfs::MountRequest& request) override {
    return RefPtr<vfs::Superblock>(TRY(Volume::mount(RefPtr<block::BlockDevice>(device_), page_cache_, request.options, request.read_only)));
  }

  void make_tree() {
    put_file("empty", "");
    put_file("small", "hello\n");
    put_file("noise", noise(300'000));
    put_file("a name with many letters, Large and small, and dots..and.dots.txt", noise(2048));
    put_file("umlaut \xc3\xa4 and \xe2\x82\xac", "utf8\n");
    run("cd " + tree_ + " && ln -s small symlink && ln -s /nowhere/" + std::string(100, 'x') + "/" + std::string(100, 'y') +
        "/../z long && mkfifo fifo && mkdir -p a/b dir many");
    run("cd " + tree_ + " && mknod null c 1 3; mknod disk b 8 30; chmod 4755 noise; chmod 1777 dir; chown 1000:2000 small");
    run("cd " + tree_ + "/many && seq -f 'file %05g' 700 | xargs -d '\\n' touch");
    run("mkdir -p " + tree_ + "/1/2/3/4/5/6/7/8/9/10/11/12 && echo deep > " + tree_ + "/1/2/3/4/5/6/7/8/9/10/11/12/file");
    put_file("dir/" + std::string(240, 'n'), "a long name\n");
    run("find " + tree_ + " -exec touch -h -d '2020-02-03 04:05:06 UTC' {} +");
  }

  Image make_image(const std::string& command) {
    ::unlink(path_.c_str());
    EXPECT_TRUE(run(command + " -o " + path_ + " " + tree_)) << command;
    return load();
  }
  int mount(const Image& image, std::string_view options = "", bool read_only = true) { return DiskTest::mount(image, options, read_only); }
  vfs::TreeText mounted_tree(unsigned parts) {
    vfs::TreeText text = DiskTest::mounted_tree(parts);
    // Where genisoimage puts what is too deep.
    text.erase("/rr_moved");
    return text;
  }
};

constexpr unsigned kPosix = vfs::kTreeOwners | vfs::kTreeTimes | vfs::kTreeModes;

TEST_F(IsoTest, RockRidgeHoldsTheTree) {
  if (!has("genisoimage") || !has("xorriso")) GTEST_SKIP() << "needs genisoimage and xorriso";
  make_tree();
  const vfs::TreeText wanted = host_tree(kPosix);
  for (const char* command : {"genisoimage -quiet -R", "genisoimage -quiet -R -J -joliet-long", "xorriso -as mkisofs -quiet -R",
                              "xorriso -as mkisofs -quiet -R -J -iso-level 3"}) {
    ASSERT_EQ(mount(make_image(command)), 0) << command;
    EXPECT_EQ(difference(wanted, mounted_tree(kPosix)), "") << command;
    EXPECT_EQ(unmount(), 0);
  }
}

TEST_F(IsoTest, JolietHoldsNamesAndContents) {
  if (!has("genisoimage")) GTEST_SKIP() << "needs genisoimage";
  put_file("a Name with Letters.txt", "text");
  put_file("umlaut \xc3\xa4 and \xe2\x82\xac", noise(5000));
  run("mkdir -p " + tree_ + "/Dir/inner && echo x > " + tree_ + "/Dir/inner/File");
  const Image image = make_image("genisoimage -quiet -R -J -joliet-long -input-charset utf-8");
  const vfs::TreeText wanted = host_tree(0);
  ASSERT_EQ(mount(image, "norock"), 0);
  EXPECT_EQ(difference(wanted, mounted_tree(0)), "");
  EXPECT_EQ(stat("/m/Dir").mode, 040555u);
  EXPECT_EQ(unmount(), 0);
  ASSERT_EQ(mount(image, "norock,check=relaxed,uid=5,gid=6,mode=0640,dmode=0750"), 0);
  EXPECT_EQ(lookup("/m/dIR/INNER/file"), 0);
  EXPECT_EQ(stat("/m/Dir").mode, 040750u);
  EXPECT_EQ(stat("/m/Dir/inner/File").mode, 0100640u);
  EXPECT_EQ(stat("/m/Dir/inner/File").uid, 5u);
  EXPECT_EQ(stat("/m/Dir/inner/File").gid, 6u);
}

TEST_F(IsoTest, PlainNamesAreMapped) {
  if (!has("genisoimage")) GTEST_SKIP() << "needs genisoimage";
  put_file("readme.txt", "text");
  run("mkdir " + tree_ + "/dir");
  const Image image = make_image("genisoimage -quiet");
  ASSERT_EQ(mount(image), 0);
  EXPECT_EQ(names("/m"), (std::vector<std::string>{"dir", "readme.txt"}));
  EXPECT_EQ(get_all("/m/readme.txt"), "text");
  EXPECT_EQ(lookup("/m/README.TXT"), ENOENT);
  EXPECT_EQ(unmount(), 0);
  ASSERT_EQ(mount(image, "map=off"), 0);
  EXPECT_EQ(names("/m"), (std::vector<std::string>{"DIR", "README.TXT;1"}));
}

TEST_F(IsoTest, OptionsCountForRockRidgeAsFarAsTheySay) {
  if (!has("genisoimage")) GTEST_SKIP() << "needs genisoimage";
  put_file("file", "text");
  run("chmod 600 " + tree_ + "/file; chown 1:2 " + tree_ + "/file");  // the superuser alone
  struct ::stat owned;
  ASSERT_EQ(::stat((tree_ + "/file").c_str(), &owned), 0);
  const Image image = make_image("genisoimage -quiet -R");
  ASSERT_EQ(mount(image, "uid=77,mode=0444"), 0);
  EXPECT_EQ(stat("/m/file").uid, 77u);
  EXPECT_EQ(stat("/m/file").gid, owned.st_gid);
  EXPECT_EQ(stat("/m/file").mode, 0100600u);
  EXPECT_EQ(unmount(), 0);
  ASSERT_EQ(mount(image, "mode=0444,overriderockperm"), 0);
  EXPECT_EQ(stat("/m/file").mode, 0100444u);
  EXPECT_EQ(unmount(), 0);
  EXPECT_EQ(mount(image, "nonsense"), EINVAL);
  EXPECT_EQ(mount(image, "block=4096"), EINVAL);
  EXPECT_EQ(mount(image, "", false), EACCES);
  EXPECT_EQ(mount(Image(100'000)), EINVAL);
}

TEST_F(IsoTest, ExtentsOfAFileFollowEachOther) {
  HandMade made;
  made.add(HandMade::record("BIG.;1", 24, 2 * kSectorBytes, 128));
  made.add(HandMade::record("BIG.;1", 30, kSectorBytes, 128));
  made.add(HandMade::record("BIG.;1", 27, 100, 0));
  made.add(HandMade::record("NEXT.;1", 28, 4, 0));
  const std::string first = noise(2 * kSectorBytes), second = noise(kSectorBytes), third = noise(100);
  made.put(24, 0, first);
  made.put(30, 0, second);
  made.put(27, 0, third);
  made.put(28, 0, "next");
  ASSERT_EQ(mount(made.image()), 0);
  EXPECT_EQ(names("/m"), (std::vector<std::string>{"big", "next"}));
  EXPECT_EQ(stat("/m/big").size_bytes, 3 * kSectorBytes + 100);
  EXPECT_TRUE(get_all("/m/big") == first + second + third);
  EXPECT_EQ(get_all("/m/next"), "next");
}

TEST_F(IsoTest, ARelocatedDirectoryIsShownWhereItBelongs) {
  HandMade made;
  made.use_rock_ridge();
  made.add(HandMade::record("HERE", 30, 0, 0,
                            HandMade::name_field("here") + HandMade::mode_field(040755) + HandMade::field("CL", HandMade::both(24))));
  made.add(HandMade::record("MOVED", 24, kSectorBytes, 2,
                            HandMade::name_field("moved") + HandMade::mode_field(040755) + HandMade::field("RE", "")));
  made.begin_directory(24, HandMade::kRoot, HandMade::mode_field(040711) + HandMade::field("PL", HandMade::both(HandMade::kRoot)));
  made.add(HandMade::record("FILE.;1", 26, 4, 0, HandMade::name_field("File") + HandMade::mode_field(0100644)));
  made.put(26, 0, "deep");
  ASSERT_EQ(mount(made.image()), 0);
  EXPECT_EQ(names("/m"), std::vector<std::string>{"here"});
  EXPECT_EQ(stat("/m/here").mode, 040711u);
  EXPECT_EQ(get_all("/m/here/File"), "deep");
  EXPECT_EQ(stat("/m/here/File").uid, 7u);
}

TEST_F(IsoTest, DirectoriesThatContainThemselvesAreDamage) {
  HandMade made;
  made.add(HandMade::record("A", 24, kSectorBytes, 2));
  made.add(HandMade::record("ROOT", HandMade::kRoot, kSectorBytes, 2));
  made.begin_directory(24, HandMade::kRoot);
  made.add(HandMade::record("B", 25, kSectorBytes, 2));
  made.add(HandMade::record("SELF", 24, kSectorBytes, 2));
  made.begin_directory(25, 24);
  made.add(HandMade::record("A", 24, kSectorBytes, 2));
  ASSERT_EQ(mount(made.image()), 0);
  EXPECT_EQ(lookup("/m/a/b"), 0);
  EXPECT_EQ(lookup("/m/a/b/a"), EIO);
  EXPECT_EQ(lookup("/m/a/self"), EIO);
  EXPECT_EQ(lookup("/m/root"), EIO);
}

TEST_F(IsoTest, ContinuationsThatDoNotEndAreDamage) {
  HandMade made;
  made.use_rock_ridge();
  const std::string circle = HandMade::field("CE", HandMade::both(24) + HandMade::both(0) + HandMade::both(28));
  made.add(HandMade::record("A", 30, 4, 0, circle));
  made.add(HandMade::record("B", 30, 4, 0, HandMade::mode_field(0100644)));
  made.put(24, 0, circle);
  ASSERT_EQ(mount(made.image()), 0);
  // The others in the directory can be had.
  EXPECT_EQ(names("/m"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(lookup("/m/a"), EIO);
  EXPECT_EQ(lookup("/m/b"), 0);
}

TEST_F(IsoTest, DamagedFieldsAreOnesOfTheirFileAlone) {
  HandMade made;
  made.use_rock_ridge();
  made.add(HandMade::record(
      "A", 30, 4, 0, HandMade::name_field("Link") + HandMade::mode_field(0120777) + HandMade::field("SL", std::string{0, 0, 99, 'x'})));
  made.add(HandMade::record("B", 30, 4, 0, HandMade::name_field("File") + HandMade::mode_field(0100644)));
  ASSERT_EQ(mount(made.image()), 0);
  EXPECT_EQ(names("/m"), (std::vector<std::string>{"Link", "File"}));
  EXPECT_EQ(lookup("/m/Link", 0), EIO);
  EXPECT_EQ(lookup("/m/File"), 0);
}

TEST_F(IsoTest, WhatIsBeyondTheDeviceCannotBeRead) {
  HandMade made;
  made.add(HandMade::record("FAR.;1", 1000, 4, 0));
  made.add(HandMade::record("LONG.;1", 39, 3 * kSectorBytes, 0));
  made.add(HandMade::record("DIR", 4'000'000'000u, kSectorBytes, 2));
  made.add(HandMade::record("WIDE", 24, 4'000'000'000u, 2));
  made.begin_directory(24, HandMade::kRoot);
  made.put(24, 10, HandMade::both(4'000'000'000u));  // its own record says so too
  made.put(39, 0, "begins");
  ASSERT_EQ(mount(made.image()), 0);
  EXPECT_EQ(get_all("/m/far").substr(0, 15), "errno 5 after 0");
  EXPECT_EQ(stat("/m/long").size_bytes, 3 * kSectorBytes);
  EXPECT_EQ(get_all("/m/long").substr(0, 7), "errno 5");
  EXPECT_EQ(lookup("/m/dir"), EIO);
  EXPECT_EQ(lookup("/m/wide"), EIO);
}

TEST_F(IsoTest, NamesThatLeadElsewhereAreDamage) {
  for (const std::string& name : {std::string("a/b"), std::string(".."), std::string("a\0b", 3)}) {
    HandMade made;
    made.use_rock_ridge();
    made.add(HandMade::record("A", 30, 4, 0, HandMade::name_field(name) + HandMade::mode_field(0100644)));
    ASSERT_EQ(mount(made.image()), 0);
    EXPECT_EQ(lookup("/m/a"), EIO);
    EXPECT_EQ(unmount(), 0);
  }
}

TEST_F(IsoTest, DamagedVolumesAreRefusedOrGiveErrors) {
  HandMade made;
  made.use_rock_ridge();
  for (int i = 0; i < 8; ++i)
    made.add(HandMade::record("F" + std::to_string(i), 30, 4000, 0,
                              HandMade::name_field("file " + std::to_string(i)) + HandMade::mode_field(i % 2 ? 0100644 : 0120777) +
                                  HandMade::field("SL", std::string{0, 0, 3, 'a', 'b', 'c'})));
  made.add(HandMade::record("DIR", 24, kSectorBytes, 2, HandMade::name_field("dir")));
  made.begin_directory(24, HandMade::kRoot, HandMade::mode_field(040755));
  made.add(HandMade::record("X", 30, 100, 0, HandMade::name_field("x")));
  const Image good = made.image();
  for (int round = 0; round < 2000; ++round) {
    Image image = good;
    for (auto count = 1 + random(5); count > 0; --count) {
      const size_t sector = random(8) == 0 ? 16 : random(3) == 0 ? 24 : HandMade::kRoot;
      image[sector * kSectorBytes + random(1500)] = static_cast<std::byte>(random(3) ? random(256) : 0xff);
    }
    if (mount(image) != 0) continue;
    (void)mounted_tree(kPosix);
    ASSERT_EQ(unmount(), 0);
  }
}

}  // namespace

}  // namespace umk::iso9660
