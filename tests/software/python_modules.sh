# The standard library's own tests of what leans on the kernel, where they are installed (package libpython3-testsuite).
/usr/bin/python3 -c 'import test.test_os' 2>/dev/null || { echo "not installed"; exit 0; }
for module in test_os test_subprocess test_threading test_signal test_select test_mmap test_pty test_fcntl test_epoll test_posix; do
  timeout 250 /usr/bin/python3 -m test -q "$module" >/dev/null 2>&1; echo "$module $?"
done
