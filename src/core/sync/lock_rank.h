// Lock ranks: the order in which locks may be taken. A thread takes locks walking down this list only (a later one while
// holding an earlier one); the checker panics otherwise in hosted tests. docs/lock-order.md explains each edge.
#pragma once

#include <cstdint>

namespace umk::sync {

enum class LockRank : uint8_t {
  None,            // never nests with others, or is checked by hand
  Epoll,           // an epoll instance: it polls files, so it comes before whatever they lock
  ProcFile,        // an open file of proc: held while its text is made
  ProcDirectory,   // a directory of proc, whose entries are tasks and descriptors
  Session,         // sessions, controlling terminals
  Tty,             // a terminal's state
  AsyncIo,         // who is told of a file's changes by a signal: held while the signals are sent
  TaskList,        // pid table, parents and children, process groups
  Process,         // a thread group: shared signal state, limits, timers
  Signals,         // signal handlers and pending queues of a process and its tasks
  FdTable,         // a descriptor table
  OpenFile,        // an open file's position: held while the file is read or written at it
  FileData,        // writers of one file: held while they copy from guest memory, so it is none that a page fault needs
  Mounts,          // the mount tree
  Rename,          // directory renames across directories
  Directory,       // a directory inode's entries (parents before children)
  Inode,           // an inode's metadata
  FileLocks,       // record locks and leases
  HostFile,        // what hostfs knows of one host file, then its tables
  Socket,          // a socket (ordered by address when two are taken)
  Pipe,            // a pipe buffer
  SharedCode,      // which pages of a source are code: held while all address spaces that map it are gone through
  AddressSpace,    // areas of an address space
  PageCache,       // the list of cached files
  PageStore,       // pages of one file
  DiskFilesystem,  // metadata of a filesystem on a disk: block maps, allocation, journal, buffers
  Block,           // a block device's own state; may be held while the host reads or writes
  Futex,           // a futex bucket
  Dentry,          // dentry cache buckets
  Timers,          // timer queue
  WaitQueue,       // a queue of sleepers
  EpollReady,      // an epoll instance's ready list, filled by wake-ups
  Memory,          // heap and page allocator
  Log,             // the kernel log
};

}  // namespace umk::sync
