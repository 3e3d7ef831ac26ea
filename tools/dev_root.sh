# `./dev root debian DIR|IMAGE`: a Debian 12 root filesystem for umk. Sourced by ./dev.
#
# mmdebstrap(1) makes an archive, in whatever way this user may (as root, in a user namespace, or with fakechroot). The
# archive knows owners, modes and devices exactly; how they reach the disk depends on the target:
#   a directory   is unpacked by tools/unpack_root, which records what this user may not set (record_owners there)
#   an image      is filled by mke2fs from a tree that exists inside fakeroot(1), where every owner can be set

ROOT_INCLUDE=bash,ca-certificates,e2fsprogs,gawk,gcc,iproute2,less,libc6-dev,login,make,mount,netbase,procps,python3-minimal,python3,sysvinit-core

make_root() {
  local target="" include=$ROOT_INCLUDE size=2G mirror=http://deb.debian.org/debian mode=auto
  [[ ${1:-} == debian ]] || die "root: say what to make: ./dev root debian DIR|IMAGE"
  shift
  while (($#)); do
    case $1 in
      --include | --size | --mirror | --mode)
        (($# > 1)) || die "root: $1 needs a value"
        case $1 in
          --include) include+=,$2 ;;
          --size) size=$2 ;;
          --mirror) mirror=$2 ;;
          --mode) mode=$2 ;;
        esac
        shift
        ;;
      -*) die "root: there is no option '$1'" ;;
      *)
        [[ -z $target ]] || die "root: one target at a time"
        target=$1
        ;;
    esac
    shift
  done
  [[ -n $target ]] || die "root: name a new directory, or an image file (.img, .ext4)"
  if [[ -d $target ]]; then
    [[ -z $(ls -A "$target") ]] || die "root: '$target' is not empty"
  elif [[ -e $target ]]; then
    die "root: '$target' exists"
  fi

  local work
  # Beside the target, since /tmp may be small. mmdebstrap in a user namespace writes as another user: it gets a pipe.
  mkdir -p "$(dirname "$target")"
  work=$(mktemp -d "$(dirname "$target")/.umk-root.XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT

  say "debootstrapping Debian 12 from $mirror (some minutes; mode $mode)"
  mmdebstrap --mode="$mode" --variant=minbase --format=tar --include="$include" \
    --aptopt='Acquire::Retries "3"' --customize-hook="$SOURCE/tools/prepare_root" bookworm - "$mirror" >"$work/root.tar" ||
    die "root: mmdebstrap failed. Without root it needs user namespaces with a range in /etc/subuid, or fakechroot: --mode fakechroot"

  case $target in
    *.img | *.ext4 | *.raw)
      say "making the image $target of $size"
      make_image "$work/root.tar" "$target" "$size" "$work/tree"
      ;;
    *)
      say "unpacking into $target"
      "$SOURCE/tools/unpack_root" "$work/root.tar" "$target"
      # There is no disk to check at boot.
      printf 'none\t/\thostfs\tdefaults\t0\t0\n' >"$target/etc/fstab"
      say "done: try  ./dev run run --root $target -- bash
     or boot it:  ./dev run rootfstype=hostfs rootflags=$target rw  and log in as root, without a password"
      ;;
  esac
}

# make_image ARCHIVE IMAGE SIZE SCRATCH-DIRECTORY
make_image() {
  local fake=()
  ((EUID == 0)) || fake=(fakeroot)
  "${fake[@]}" sh -euc '
    mkdir "$4"
    tar -C "$4" --numeric-owner --same-owner -xpf "$1"
    mke2fs -q -t ext4 -L umk-root -E root_owner=0:0 -d "$4" "$2.part" "$3"
    chmod -R u+rwX "$4" # for the removal, outside of fakeroot
  ' sh "$1" "$2" "$3" "$4" || {
    rm -f "$2.part"
    die "root: making the image failed (too small? try --size 4G)"
  }
  mv "$2.part" "$2"
  say "done: try  ./dev run ubd0=$2  and log in as root, without a password"
}
