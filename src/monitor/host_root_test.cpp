#include "monitor/host_root.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace umk::monitor {
namespace {

namespace fs = std::filesystem;

class HostRoot : public testing::Test {
 public:
  HostRoot() {
    char text[] = "/tmp/umk-test-root-XXXXXX";
    folder = fs::canonical(mkdtemp(text));
    fs::create_directories(folder / "tree/home/me");
    fs::create_directories(folder / "tree/root");
    std::ofstream(folder / "file") << "x";
    before = fs::current_path();
    fs::current_path(folder);
    if (const char* home = std::getenv("HOME")) old_home = home;
  }
  ~HostRoot() override {
    setenv("HOME", old_home.c_str(), 1);
    fs::current_path(before);
    fs::permissions(folder / "tree/root", fs::perms::owner_all);
    fs::remove_all(folder);
  }

  static Configuration with(const std::string& flags) {
    Configuration configuration;
    configuration.root_type = "hostfs";
    configuration.root_flags = flags;
    return configuration;
  }
  /// What the flags become, or the problem.
  static std::string settled(const std::string& flags) {
    Configuration configuration = with(flags);
    const std::optional<std::string> problem = settle_host_root(configuration);
    return problem ? *problem : configuration.root_flags;
  }

  fs::path folder, before;
  std::string old_home = "/";
};

TEST_F(HostRoot, IsNamedFromTheTop) {
  EXPECT_EQ(settled("tree"), folder / "tree");
  EXPECT_EQ(settled("./tree/../tree"), folder / "tree");
  EXPECT_EQ(settled("tree,owners=host"), (folder / "tree").string() + ",owners=host");
  EXPECT_EQ(settled("/"), "/");
  EXPECT_EQ(settled(""), "");
  EXPECT_EQ(settled("owners=host"), "owners=host");
}

TEST_F(HostRoot, SaysWhatIsWrongWithIt) {
  EXPECT_EQ(settled("nosuch"), "umk: the root nosuch: No such file or directory");
  EXPECT_EQ(settled("/nosuch"), "umk: the root /nosuch: No such file or directory");
  EXPECT_EQ(settled("file"), "umk: the root file: Not a directory");
  fs::create_directory("with,comma");
  fs::current_path("with,comma");
  EXPECT_NE(settled(".").find("comma"), std::string::npos);
}

TEST_F(HostRoot, OtherRootsAreLeftAlone) {
  Configuration configuration = with("data=journal");
  configuration.root_type = "ext4";
  EXPECT_FALSE(settle_host_root(configuration));
  EXPECT_EQ(configuration.root_flags, "data=journal");
  EXPECT_EQ(home_of_command(configuration), "/root");
}

TEST_F(HostRoot, HomeIsOneThatCanBeEntered) {
  const Configuration tree = with(folder / "tree");
  setenv("HOME", "/home/me", 1);
  EXPECT_EQ(home_of_command(tree), "/root");
  fs::permissions(folder / "tree/root", fs::perms::none);
  const bool was_root = geteuid() == 0;
  // access(2) goes by the real user.
  EXPECT_TRUE(!was_root || setresuid(65534, 0, 0) == 0);
  fs::permissions(folder, fs::perms::all);
  EXPECT_EQ(home_of_command(tree), "/home/me");
  setenv("HOME", "/home/you", 1);
  EXPECT_EQ(home_of_command(tree), "/");
  unsetenv("HOME");
  EXPECT_EQ(home_of_command(tree), "/");
  EXPECT_TRUE(!was_root || setresuid(0, 0, 0) == 0);
}

}  // namespace
}  // namespace umk::monitor
